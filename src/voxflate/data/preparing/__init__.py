"""From scans to a prepared set: recipes, steps, the quality report."""
