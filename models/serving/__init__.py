"""A model as a service: requests gathered into batches, the version in use followed, explanations of one image."""
