"""The whole method on the built-in cohort."""
