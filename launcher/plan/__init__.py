"""A JobSpec and a recipe come in; a Plan goes out, which is all that a run needs to know, and findings on it. Pure."""
