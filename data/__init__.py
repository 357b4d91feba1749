"""From sources to shards: listing, labels, decoding, manifest, splits, shards and input. No Prefect, no networks."""
