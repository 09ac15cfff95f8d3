"""Tables from run files. Reads finished run files only (src/store/SCHEMA.md), never logs."""
