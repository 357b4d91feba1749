"""Which label each file has: the label map, class folders, file names, and tables of labels."""
