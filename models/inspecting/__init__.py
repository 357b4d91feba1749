"""A look at a data set: likely label errors, and the page of what stands out."""
