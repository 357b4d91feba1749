"""One file per technique of explanation; each takes a network and pixels, and returns arrays."""
