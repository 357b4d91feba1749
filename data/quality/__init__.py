"""What stands out among the images: exact and near copies, leaks between splits, unusual files."""
