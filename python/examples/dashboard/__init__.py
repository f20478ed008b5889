"""A table that is watched."""
