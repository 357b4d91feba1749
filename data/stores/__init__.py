"""Where files lie: the workspace's folders, object stores by URL, local copies of folders in a store."""
