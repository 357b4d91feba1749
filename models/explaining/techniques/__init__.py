"""One file for each technique of explanation; they take a network and pixels, and give arrays."""
