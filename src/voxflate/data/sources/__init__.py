"""Finds the scans to prepare in a folder or list, and their subjects and names."""
