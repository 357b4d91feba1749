"""What to label next, and the page on which a person labels or corrects images."""
