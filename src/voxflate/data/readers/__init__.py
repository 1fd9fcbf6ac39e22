"""Readers: one format a file, chosen in a table by suffix."""
