"""A trained generator in forms that other people and other programs open: a page, ONNX, a hub, MONAI."""
