"""The encoder in ONNX Runtime, on an execution provider that the operator names and nowhere else."""
