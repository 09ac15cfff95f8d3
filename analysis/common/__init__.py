"""What all parts of the analysis use."""
