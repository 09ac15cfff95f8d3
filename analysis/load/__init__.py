"""From run files, archives and indexes to runs and the groups that differ in nothing but the seed."""
