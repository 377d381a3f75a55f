"""A run comes in; its curves, results and settings go out, in the form of an experiment tracker."""
