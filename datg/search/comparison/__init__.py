"""Comparisons: strategies and learners with several seeds on the same tasks."""
