"""A job file comes in; a started run goes out. Also resume, retry, cancel, rehearse and sweeps."""
