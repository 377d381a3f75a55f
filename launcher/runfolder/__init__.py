"""The bytes of a run's files come in; values go out. Each file's name and format is defined here, and only here."""
