"""Commands and their environment come in; a gang of processes runs, and the first failure with its cause goes out."""
