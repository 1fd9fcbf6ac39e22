"""Reports for people: pages and tables."""
