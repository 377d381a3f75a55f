"""In: a data folder, the recipe and a step. Out: batches of pixels, targets and mixing shares, the same at every run."""
