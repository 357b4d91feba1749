"""Where the labels of a source come from: what the rules say, or what folders, tables and file names agree on.

Where they do not agree, or a table could not be read, nothing is guessed: the error names each reading and its option.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from darkroom.data.errors import LabelError
from darkroom.data.labels.from_folders import FILE_NAME, LEVELS, Found, Source, from_folders, from_names, listed
from darkroom.data.labels.label_tables import (
    NAMES_NO_IMAGE,
    NO_LABELS,
    Columns,
    FoundTables,
    find_tables,
    label_table,
)
from darkroom.data.labels.layout import is_session
from darkroom.data.labels.reading import LeftOut, ambiguous
from darkroom.data.labels.recognition.from_tables import (
    chosen_tables,
    from_tables,
    labels_of,
    names_for_numbers,
    one_a_split,
)
from darkroom.data.labels.recognition.listings import stop_at_references, stop_at_unread_lists
from darkroom.data.labels.recognition.predictions import stop_at_predictions
from darkroom.data.labels.recognition.several_folders import merge_several_folders, stop_at_several_folders
from darkroom.data.labels.split_columns import NO_COLUMN
from darkroom.data.stores.listing import printable
from darkroom.data.tables.matching import Names
from darkroom.data.tables.sidecars import CLASSES, OBJECTS, sidecar_tables
from darkroom.data.tables.table import Table
from darkroom.data.tables.table_files import read_table

UNUSED_TABLE = "unused table"


def find_labels(source: Source) -> Found:
    """The labels of a source, from where the rules say, or else from what folders, tables and file names agree on.

    Raises:
        LabelError: where the source can be read in two ways, or what the rules name is missing.
    """
    rules = source.rules
    if rules.source in ("folders", *LEVELS):
        return merge_several_folders(source, from_folders(source, chosen=rules.source in LEVELS))
    if rules.pattern or rules.source == "filename":
        return from_names(source, rules.pattern or FILE_NAME)
    names = Names(source.images)
    columns = Columns(rules.path_column, rules.label_column, rules.split_column, rules.cells())
    if rules.csv:
        given = [label_table(table, names, columns) for table in _given_tables(source, rules.csv, names)]
        for table in given:
            stop_at_references(source, table, names)
        return from_tables(source, given)
    kept = [entry for entry in source.entries if not rules.excludes(entry.path)]
    tables = names_for_numbers(find_tables(source.folder, kept, names, columns))
    for table in tables.usable:
        stop_at_references(source, table, names)
    if rules.source == "csv" or rules.path_column or rules.label_column:
        return _from_found(source, tables)
    if rules.split_column not in (None, NO_COLUMN) and not tables.usable and not tables.of_splits:
        raise LabelError(
            f"{source} holds no table whose rows name images, and --split-column asks for the column "
            f"{rules.split_column!r} of one. Name the file with --labels-csv, or leave the option out."
        )
    read = {path for table in tables.usable for path in (table.table.path, *table.table.files)} | set(tables.unusable)
    stop_at_unread_lists(source, names, read)
    return _recognised(source, tables)


def _given_tables(source: Source, text: str, names: Names) -> list[Table]:
    """The tables that `--labels-csv` names: one, several separated by commas, or `*.xml` for a file per image."""
    kinds = {table.path: table for table in sidecar_tables(source.folder, source.entries, names)}
    if text in kinds:
        return [kinds[text]]
    whole = source.folder / text
    files = [whole] if whole.is_file() else [source.folder / each.strip() for each in text.split(",")]
    missing = next((file for file in files if not file.is_file()), None)
    if missing:
        name = printable(missing.name if len(files) > 1 else text)
        raise LabelError(
            f"The label file {name} is neither in {source} nor an absolute path to a file. Correct --labels-csv."
        )
    tables = [read_table(file, source.folder, names) for file in files]
    unknown = next((file for file, table in zip(files, tables, strict=True) if table is None), None)
    if unknown:
        raise LabelError(
            f"{printable(unknown.name)} holds no labels in a form that is known: CSV, JSON (COCO, Label Studio, "
            "objects or a map), CVAT's XML, or Parquet. Save the paths and labels as CSV."
        )
    return [table for table in tables if table]


def _recognised(source: Source, tables: FoundTables) -> Found:
    """Folders and tables where they agree; either where the other says nothing; neither where they disagree."""
    if tables.usable and len(source.layout.classes()) < 2:
        _stop_at_unread_tables(source, tables)
        return _from_found(source, tables)
    folders = from_folders(source, doubted=False)
    has_classes = len(set(folders.labels.values())) >= 2
    if tables.usable:
        return _folders_and_tables(source, folders, tables)
    _stop_at_unread_tables(source, tables, "folders" if folders.labels else "filename")
    by_name = from_names(source, FILE_NAME)
    judged = [entry for entry in source.images if source.place(entry).split == "train"] or source.images
    named = sum(entry.path in by_name.labels for entry in judged)
    if not has_classes and len(set(by_name.labels.values())) >= 2 and 2 * named >= len(judged):
        return by_name
    _stop_at_names_of_another_class(source, folders, by_name)
    splits = _where_folders_have_none(source, tables.splits)
    stop_at_several_folders(source, folders)
    return replace(
        merge_several_folders(source, from_folders(source)),
        splits=splits,
        splits_from="splits from a table" if splits else "",
        left_out=_unused(tables),
        tables=tables.of_splits,
    )


def _folders_and_tables(source: Source, folders: Found, tables: FoundTables) -> Found:
    """Class folders, and tables beside them."""
    said = [labels_of(table, source.rules.classes, leave_out_bad_rows=True) for table in tables.usable]
    differ = [
        table
        for table, found in zip(tables.usable, said, strict=True)
        if any(folders.labels.get(path, label) != label for path, label in found.labels.items())
        or not set(found.labels.values()) <= set(folders.labels.values())
    ]
    if not differ:
        divided = {entry.path for entry in source.images if source.place(entry).split}
        added = {
            path: label
            for found in said
            for path, label in found.labels.items()
            if path not in folders.labels and path in divided
        }
        splits = {path: split for found in said for path, split in found.splits.items()}
        stop_at_several_folders(source, folders)
        chosen = merge_several_folders(source, from_folders(source))
        words = f", and of {len(added)} images from {', '.join(t.name for t in tables.usable)}" if added else ""
        return Found(
            {**added, **chosen.labels},
            chosen.decision + words,
            _where_folders_have_none(source, splits),
            left_out=_unused(tables),
            merged=chosen.merged,
            tables=tuple(table.table.path for table in tables.usable),
        )
    classes = set(folders.labels.values())
    whole = len(tables.usable) == 1 and set(folders.labels) <= set(said[0].labels)
    numbered = tables.usable[0].table.path in (CLASSES, OBJECTS) and all(label.isdecimal() for label in classes)
    if whole and (numbered or all(is_session(label) for label in classes)):  # numbers of shards are no classes
        return _from_found(source, tables)
    readings = [(f"the folders are the classes ({listed(classes)})", "--labels-from folders")]
    if len(tables.usable) > 1 and one_a_split(tables.usable):
        names_of = ", ".join(table.name for table in tables.usable)
        raise ambiguous(str(source), [*readings, (f"the labels are in {names_of}", "--labels-from csv")])
    for table in differ:
        found = said[tables.usable.index(table)]
        column = f"column {table.label_column!r}" if table.label_column else "one column per class"
        words = f"the labels are in {table.table.path}, {column} ({listed(set(found.labels.values()))})"
        readings.append((words, f"--labels-csv {table.table.path}"))
    raise ambiguous(str(source), readings)


def _where_folders_have_none(source: Source, splits: Mapping[str, str]) -> dict[str, str]:
    """The splits that tables give to images in no split folder."""
    return {
        entry.path: splits[entry.path]
        for entry in source.images
        if entry.path in splits and source.place(entry).split is None
    }


def _from_found(source: Source, tables: FoundTables) -> Found:
    """The labels of the tables that were found and that nobody named."""
    chosen = chosen_tables(tables, source)
    if source.rules.label_column is None:
        stop_at_predictions(chosen)
    found = from_tables(source, chosen)
    return replace(found, left_out=(*found.left_out, *_unused(tables)))


def _stop_at_unread_tables(source: Source, tables: FoundTables, without: str = "") -> None:
    """Stop where a table may hold labels but could not be read.

    Args:
        source: What to label.
        tables: Its tables.
        without: The rule that reads the source without tables, `folders` or `filename`: their names may not be the
            classes. "" where other tables give the labels.
    """
    for path, why in sorted(tables.unusable.items()):
        if NAMES_NO_IMAGE in why or NO_LABELS in why:
            continue
        said = f"{path} may hold {'the' if without else 'more'} labels, and cannot be used: {why.rstrip('.')}."
        if without:
            names = "folder" if without == "folders" else "file"
            raise LabelError(f"{said} Correct it, or take the {names} names as labels with --labels-from {without}.")
        others = ",".join(table.table.path for table in tables.usable)
        raise LabelError(f"{said} Correct it, or go on without it: --labels-csv {others}.")


def _stop_at_names_of_another_class(source: Source, folders: Found, by_name: Found) -> None:
    """A folder `cats` whose files are called dog.1.jpg, beside a folder `dogs`."""
    classes = {_singular(label): label for label in set(folders.labels.values())}
    sizes = Counter(folders.labels.values())
    strange: Counter[tuple[str, str]] = Counter()
    for path, named in by_name.labels.items():
        label, other = folders.labels.get(path), classes.get(_singular(named))
        if label and other and other != label:
            strange[label, other] += 1
    for (label, other), number in strange.most_common(1):
        if 2 * number > sizes[label]:
            raise ambiguous(
                str(source),
                [
                    (f"the folders are right, though {number} files in {label!r} are named like {other!r}",
                     "--labels-from folders"),
                    ("the file names are right", "--labels-from filename"),
                ],
            )  # fmt: skip


def _singular(label: str) -> str:
    return label.casefold().removesuffix("s")


def _unused(tables: FoundTables) -> tuple[LeftOut, ...]:
    """The tables that say nothing of the labels."""
    unused = sorted(tables.unusable.items())
    return tuple(
        LeftOut(what=f"{UNUSED_TABLE} ({why.rstrip('.')})", number=1, examples=(path,)) for path, why in unused
    )
