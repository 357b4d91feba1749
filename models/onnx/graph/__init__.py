"""The graph of an ONNX network: what it may hold, how many images it takes, and its canonical form."""
