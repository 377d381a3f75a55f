"""This machine, a store or a job comes in; checks go out, each with a status and what to repair."""
