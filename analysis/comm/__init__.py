"""The model of all-reduce times."""
