"""A whole training: cached features of a frozen backbone, the stages in order, and the bundle at the end."""
