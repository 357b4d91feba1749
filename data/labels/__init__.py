"""How a source is read: class folders, file names, tables of labels, and where two readings fit."""
