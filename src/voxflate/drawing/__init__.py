"""Drawings: sheets of slices, curves and charts. Arrays in, PNG files out."""
