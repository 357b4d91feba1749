"""The table that scoring writes: its columns, its parts on disk, and tables of earlier versions."""
