"""In: the machine and the environment of a rank. Out: its device, peers, random numbers, compiled operators and graphs."""
