"""`export.json`: what an exported model is, and what it was checked on. It is written last."""

from __future__ import annotations

from pathlib import Path

from darkroom.data.errors import FormatError
from darkroom.data.files.cards import FileFact, check_file, read_card
from darkroom.data.files.hashing import file_sha256
from darkroom.data.files.provenance import LibraryVersion
from darkroom.models.exporting.forms import FormName
from darkroom.models.measures.intervals import Frozen

SCHEMA_VERSION = 1
EXPORT_CARD = "export.json"


class ExportCard(Frozen):
    """The card of an exported model.

    Attributes:
        code_version: Of what wrote it.
        model: The bundle, `name@version`.
        form: In which it was written.
        checked_on: The data set whose validation images it was checked on; None for generated images.
        num_checked: How many images these were.
        max_difference: The largest difference between its probabilities and the bundle's.
        max_difference_of_files: The same where the form takes files, and decodes them itself; otherwise None.
        num_other_answers: Images that it labels otherwise than the bundle: ties, within twice that difference.
        libraries: Versions of those that wrote and checked it.
        files: Of the folder, but for this one.
    """

    schema_version: int = SCHEMA_VERSION
    code_version: int
    model: str
    form: FormName
    checked_on: str | None
    num_checked: int
    max_difference: float
    max_difference_of_files: float | None
    num_other_answers: int
    libraries: tuple[LibraryVersion, ...]
    files: tuple[FileFact, ...]


def read_export(folder: Path) -> ExportCard | None:
    """The card of an exported model whose files are all as they were written; otherwise None.

    Args:
        folder: Where it may be.
    """
    try:
        card = read_card(folder / EXPORT_CARD, ExportCard, SCHEMA_VERSION)
        for fact in card.files:
            check_file(folder, fact)
    except FormatError:
        return None
    return card if all(file_sha256(folder / fact.file) == fact.sha256 for fact in card.files) else None
