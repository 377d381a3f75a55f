"""The middle of large runs without their machines: the logic of many node programs in one process, by a clock of its own."""
