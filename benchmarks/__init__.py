"""Measurements behind the figures of the README: each is a ratio within one run."""
