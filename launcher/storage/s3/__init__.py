"""Addresses of S3 and OBS come in; an ObjectStore goes out that verifies what it reads and writes."""
