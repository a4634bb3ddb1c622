"""A trial: one configuration trained and validated, in plain Python, without Ray, Optuna or MLflow."""
