"""An inbox: what is new in a folder is scored into a table that grows night by night."""
