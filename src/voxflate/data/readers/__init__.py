"""Readers: one format per module, chosen from a table by suffix."""
