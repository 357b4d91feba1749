"""A folder of images to a prediction table: its columns, the plan, its parts, the summary."""
