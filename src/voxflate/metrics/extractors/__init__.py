"""Feature extractors: networks that turn slices and volumes into the features that metrics compare."""
