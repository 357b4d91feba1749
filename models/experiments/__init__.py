"""`darkroom compare`: trials of settings, their search, and the page that ranks them."""
