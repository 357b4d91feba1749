"""A folder of images to a prediction table: the request, the plan, its parts, the summary."""
