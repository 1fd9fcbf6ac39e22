"""Exports a trained generator for other people and programs: a page, ONNX, a hub, MONAI."""
