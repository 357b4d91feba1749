"""Training from start to finish: cached features of a frozen backbone, the stages in order, the bundle."""
