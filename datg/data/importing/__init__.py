"""Importing raw files as a data set that every other command finds by name."""
