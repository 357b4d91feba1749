"""Storage: the workspace's folders, object stores by URL, local mirrors of folders in a store."""
