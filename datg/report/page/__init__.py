"""The report of a search, a comparison or a final training: one HTML file that needs no network."""
