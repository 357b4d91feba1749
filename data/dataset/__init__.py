"""A data set on disk: manifest, splits, shards, its card, and `tf.data` input from it."""
