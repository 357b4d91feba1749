"""A trained model on disk and what runs it: the card, ONNX export, int8, ONNX Runtime or Keras.

The ready-made ImageNet model is built here too.
"""
