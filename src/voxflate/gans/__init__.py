"""Adversarial models: their networks, their training steps, how they are sampled. No loop, no files."""
