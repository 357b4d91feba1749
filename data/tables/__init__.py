"""Tables of labels: reading CSV, which columns hold paths, labels and splits, and which files the rows name."""
