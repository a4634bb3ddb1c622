"""What goes with each data set: how it is imported, what is fixed, what is searched. Installed as `datg.search_spaces`."""
