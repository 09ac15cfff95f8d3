"""Tables, statistics and figures from run files (src/store/SCHEMA.md), never from logs."""
