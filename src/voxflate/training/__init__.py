"""Training: a short loop, its state, what it writes."""
