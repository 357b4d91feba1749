"""What the trained network becomes to run fast: ONNX, int8, and the runtimes; Keras is the fallback."""
