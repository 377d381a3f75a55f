"""A device comes in; what it computed goes out as plain numbers, to be compared with those of a CPU."""
