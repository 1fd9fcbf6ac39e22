"""A run folder on disk: snapshots, log, lock, facts, export, verification."""
