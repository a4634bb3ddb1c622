"""Reproductions: the paper's tables and figures on the data that are at hand, beside the paper's numbers."""
