"""Training: a short loop, the checks around it, and what it writes."""
