"""Archives, folders of archives and tar streams, unpacked within limits."""
