"""A plan and the number of this machine come in; the run's share of this machine goes out: processes, state, logs, results."""
