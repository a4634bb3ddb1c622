"""A look at a data set before hours of work: its classes, examples, clusters and generated tasks."""
