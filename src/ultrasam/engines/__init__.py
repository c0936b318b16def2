"""What runs a model: `base` fixes the contract, `onnx` is the default engine."""
