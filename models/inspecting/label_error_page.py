"""The page on which a person corrects suspected label errors: `label.html` beside `dataset.html`."""

from __future__ import annotations

from pathlib import Path

from darkroom.data.errors import ImageError, SourceError
from darkroom.data.stores.listing import list_files, read_file
from darkroom.models.inspecting.inspection import Inspection
from darkroom.models.inspecting.label_errors import LabelError
from darkroom.models.labelling.label_page import LABEL_PAGE, LabelPage, PageItem, page_picture, write_label_page

# Most suspect first: a person who finds them right more often than not will stop before.
MAX_ITEMS = 300


def write_label_error_page(folder: Path, source: Path, inspection: Inspection) -> None:
    """Write the page where labels are suspected, and remove an earlier one where none is.

    Args:
        folder: Of the page; made where it does not exist.
        source: The folder of the images.
        inspection: Says which labels are suspected.
    """
    errors = inspection.label_errors.suspected[:MAX_ITEMS] if inspection.label_errors else ()
    if not errors:
        (folder / LABEL_PAGE).unlink(missing_ok=True)
        return
    pictures = _pictures(source, {error.path for error in errors}, inspection)
    items = [_item(error, pictures.get(error.path)) for error in errors]
    suggested = {label for error in errors for label in error.suggested_labels}
    classes = sorted({row.label for row in inspection.quality.classes} | suggested)
    name = f"{inspection.name}@{inspection.version}" if inspection.version else inspection.name
    about = [
        f"{len(errors):,} images of {name}, the most suspect first. A network that saw neither the image nor its label "
        "finds the given label implausible: look, then keep it or correct it."
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_label_page(folder / LABEL_PAGE, LabelPage("Suspected label errors", about, classes, items, errors[0].task))


def _item(error: LabelError, picture: bytes | None) -> PageItem:
    top = error.doubted or ((error.suggested, error.suggested_probability), (error.label, error.score))
    why = f"given: {error.label} ({error.score:.0%}); suggested: {error.suggested} ({error.suggested_probability:.0%})"
    return PageItem(error.path, picture, error.suggested_labels, top, why, given=error.given_labels)


def _pictures(source: Path, paths: set[str], inspection: Inspection) -> dict[str, bytes | None]:
    """By path; an image that is gone has none."""
    found: dict[str, bytes | None] = {}
    try:
        entries = [entry for entry in list_files(source) if entry.path in paths and entry.reason is None]
    except SourceError:
        return {}
    for entry in entries:
        try:
            data = read_file(source, entry.os_path, inspection.policy.max_bytes)
        except ImageError:
            continue
        found[entry.path] = page_picture(data, inspection.policy)
    return found
