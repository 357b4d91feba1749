"""Where images come from: a folder, an archive, arrays, a Kaggle data set or a sample.

Each is made ready as a folder in the workspace.
"""
