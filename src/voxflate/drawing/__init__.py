"""Drawings: sheets of slices, curves, charts. Arrays in, PNG files out."""
