"""Measurements behind the figures of docs/performance.md and docs/results: each is a ratio within one run."""
