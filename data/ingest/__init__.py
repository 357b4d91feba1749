"""From a source to a data set: the plan, its parts, publication, and what an earlier ingest lends."""
