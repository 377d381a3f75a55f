"""A run's files on this machine come in; they go out to the run's folder, verified and committed, and come back from there."""
