"""Data sets: class tables, how they are split into base, validation and novel classes, and where they come from."""
