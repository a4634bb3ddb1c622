"""Ray runs what the driver asks for. The only place that imports Ray."""
