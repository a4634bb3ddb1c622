"""MLflow: a view of trials that can be late, wrong or dead without hurting them."""
