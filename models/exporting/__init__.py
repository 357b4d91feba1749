"""A model in the form of another runtime: SavedModel, TFLite, OpenVINO, ONNX or Keras."""
