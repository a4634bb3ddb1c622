"""DATG: hyperparameter search for few-shot learning on diverse and authentic generated tasks."""

__version__ = "0.1.0"
