"""Runs come in; one HTML page goes out that needs no other file."""
