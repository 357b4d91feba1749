"""Which labels a source gives: by its folders, file names or tables, and where two readings fit."""
