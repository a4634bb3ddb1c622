"""Readers for files that may be hostile: archives and pickles."""
