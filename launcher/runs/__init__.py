"""A run's id, prefix or URL comes in; what can be known about it from outside goes out: state, logs, explanation."""
