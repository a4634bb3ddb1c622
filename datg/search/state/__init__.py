"""A search's folder: its files, going on with it, repairing it."""
