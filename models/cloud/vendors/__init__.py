"""Each recognition service by its vendor's own client."""
