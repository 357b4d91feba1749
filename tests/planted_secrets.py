"""Secrets in the environment of every process on the shared server: none may be found in anything that they write."""

from __future__ import annotations

from pathlib import Path

# Of the server and of whoever talks to it.
USER, PASSWORD = "operator", "Planted-auth-8fa1"
SECRETS = {
    "PREFECT_SERVER_API_AUTH_STRING": f"{USER}:{PASSWORD}",
    "PREFECT_API_AUTH_STRING": f"{USER}:{PASSWORD}",
    "DARKROOM_DATABASE_PASSWORD": "Planted-database-1c77",
    "KAGGLE_API_TOKEN": "Planted-kaggle-93e5",
    "KAGGLE_KEY": "Planted-kaggle-key-5d20",
    "AWS_ACCESS_KEY_ID": "Planted-aws-id-60b4",
    "AWS_SECRET_ACCESS_KEY": "Planted-aws-secret-77d2",
    "AWS_SESSION_TOKEN": "Planted-aws-session-0aa9",
    "AZURE_STORAGE_CONNECTION_STRING": "AccountName=x;AccountKey=Planted-azure-2b6e==",
    "GOOGLE_API_KEY": "Planted-google-f31d",
    "AZURE_VISION_KEY": "Planted-vision-4e08",
}
# What is searched for: all of them hold this word.
MARK = b"Planted-"


def files_with_a_secret(*folders: Path) -> list[tuple[Path, bytes]]:
    """Each file below these folders that holds a planted secret, with what stands there."""
    found = []
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        content = path.read_bytes()
        if MARK in content:
            place = content.index(MARK)
            found.append((path, content[max(0, place - 80) : place + 60]))
    return found
