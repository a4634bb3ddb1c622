"""The search: Ray executes, Optuna decides, and the Optuna study is the truth."""
