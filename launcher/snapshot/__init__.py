"""In: the folder where a job was submitted. Out: an archive of its files, taken once, that every attempt of the run works in."""
