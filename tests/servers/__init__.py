"""Real servers on loopback, and faults between them and a client."""
