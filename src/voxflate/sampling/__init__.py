"""New volumes from trained generators."""
