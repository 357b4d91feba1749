"""Task of all flows that make pages: link them to each other."""

from __future__ import annotations

from pathlib import Path

from darkroom.data.stores.workspace import Workspace
from darkroom.models.pages import navigation
from darkroom.tasks.decorators import task


@task()
def link_pages(model: Path, workspace: Workspace) -> None:
    """Link the pages of a model, its data set and its experiments."""
    for file in navigation.link_pages(workspace, model):
        if file.is_relative_to(workspace.root):
            workspace.share_file(file)
