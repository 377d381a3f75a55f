"""In: a net, batches and the recipe. Out: trained weights in checkpoint sets, the metrics of each epoch, and scores."""
