"""What there is to prepare: a folder, a list; whose scans they are and what they are called."""
