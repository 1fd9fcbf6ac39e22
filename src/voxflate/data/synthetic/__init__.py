"""The built-in cohort."""
