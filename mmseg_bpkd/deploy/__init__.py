"""A trained student outside of this package: export, ONNX, predictions."""
