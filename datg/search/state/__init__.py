"""A search's folder: its files, resuming it, repairing it."""
