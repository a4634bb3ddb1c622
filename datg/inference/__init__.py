"""A trained model applied to new classes: a few labelled examples of each, and queries without labels."""
