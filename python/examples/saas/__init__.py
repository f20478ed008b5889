"""Several customers in one service."""
