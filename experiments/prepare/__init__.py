"""Turns text data sets into the HDF5 files that the trainer reads. Usage: python3 -m experiments.prepare --help"""

VERSION = "1.0"
