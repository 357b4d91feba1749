"""What a workspace holds, and what may go: `list`, `history` and `clean` as functions, like those of `_work.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from darkroom._options import Reference, text_of

if TYPE_CHECKING:
    from darkroom.flows.inventory import CleanResult, HistoryResult, ListResult


def list_workspace(
    what: Literal["all", "datasets", "models", "scores"] = "all", workspace: Reference | None = None
) -> ListResult:
    """The data sets, models and prediction tables of a workspace: versions, sizes, dates, and what made what.

    Args:
        what: Of which kind.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
    """
    from darkroom.flows.inventory import list_entries

    return list_entries(what, text_of(workspace))


def history(name: str, workspace: Reference | None = None) -> HistoryResult:
    """Every version of a model, its figures, and which one was in use when.

    Args:
        name: The model's name.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
    """
    from darkroom.flows.inventory import history as show

    return show(name, text_of(workspace))


def clean(
    keep: int = 3, caches: bool = False, dry_run: bool = False, workspace: Reference | None = None
) -> CleanResult:
    """Remove old versions of data sets and models that nothing depends on, and nobody is asked first.

    Args:
        keep: Newest versions of each name that stay whatever depends on them.
        caches: Also remove what is made again when it is needed: cached features, and unpacked or downloaded sources.
        dry_run: Remove nothing; say what would go.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
    """
    from darkroom.flows.inventory import clean as flow

    return flow.plain(keep, caches, dry_run, text_of(workspace))
