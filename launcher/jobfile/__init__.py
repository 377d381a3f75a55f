"""The text of a job file and its overrides come in; a checked JobSpec and recipe go out, every value with its place."""
