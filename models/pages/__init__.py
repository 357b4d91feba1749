"""Pages and pictures for people: HTML templates, Markdown, plots, panels, what a page was made from."""
