"""What to label next: the command `label-next` as a function, like those of `_work.py`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from darkroom._options import THREADS, Reference, text_of

if TYPE_CHECKING:
    from darkroom.flows.label_next_result import LabelNextResult


def label_next(
    folder: Reference,
    model: Reference,
    budget: int = 200,
    out: Reference | None = None,
    workspace: Reference | None = None,
) -> LabelNextResult:
    """Choose what to label next in a folder of photographs, and write the page to label it on (docs/labelling.md).

    Args:
        folder: The images, in a folder or at a URL; subfolders too.
        model: A name (the blessed version, else the newest), `name@newest`, `name@blessed`, `name@version`, or a path;
            `imagenet`, `imagenet-lite1` and `imagenet-lite2` are ready-made.
        budget: Images to choose.
        out: Folder or URL for the page and the table; None takes `labelling/` in the workspace.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
    """
    from darkroom.flows.label_next import label_next as flow

    return flow.plain(os.fspath(folder), os.fspath(model), budget, text_of(out), text_of(workspace), THREADS)
