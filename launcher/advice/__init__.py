"""The fields of a failure come in; what a person can do about it goes out: advice, and commands to type."""
