"""Volumes back to files: NIfTI and DICOM."""
