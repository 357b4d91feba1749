"""From a source to a data set: the plan, its parts, publication, and the reuse of an earlier ingest."""
