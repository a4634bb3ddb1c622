"""Final training: one configuration with several training seeds."""
