"""In: a net with weights, or an exported file with image files. Out: MINDIR, ONNX and AIR files, or predictions."""
