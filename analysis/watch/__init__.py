"""A live view of a running sweep, which only reads: no lock is taken, nothing is written."""
