"""A Plan comes in; a batch job of Slurm goes out, with its script, its rules and the program that starts each node."""
