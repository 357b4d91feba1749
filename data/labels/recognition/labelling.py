"""Labels and splits from the layout of a data set on disk: class folders, split folders, file names, or tables."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from darkroom.data.errors import LabelError
from darkroom.data.labels.corrections import EXCLUDE, Corrections, CorrectionSummary, read_corrections
from darkroom.data.labels.from_folders import LEVELS, Found, Source, listed, parent_folder
from darkroom.data.labels.layout import Layout, read_layout
from darkroom.data.labels.reading import ClassSize, LeftOut, Reading
from darkroom.data.labels.recognition.masks import find_masks
from darkroom.data.labels.recognition.origin import UNUSED_TABLE, find_labels
from darkroom.data.labels.rules import LabelRules
from darkroom.data.reason_codes import ReasonCode
from darkroom.data.sources.parquet_images import PARQUET_SUFFIX, images_in_parquet
from darkroom.data.sources.unpacking.archive_folder import is_loose_image, packed_images
from darkroom.data.sources.unpacking.archives import without_suffix
from darkroom.data.stores.listing import FileEntry, printable
from darkroom.data.tables.table_files import TABLE_SUFFIXES
from darkroom.data.task import TASKS

EXCLUDED: ReasonCode = "excluded"
MASK: ReasonCode = "mask"

# What file managers call a copy of a folder.
_COPY = re.compile(r"(?P<name>.+?)(?: - Copy| - Kopie| copy| \(copy\)| ?\(\d+\)|_copy)(?: ?\(?\d+\)?)?", re.IGNORECASE)
_REMEDY = (
    "Put the images into one folder per class, or give --labels-csv FILE with --path-column and --label-column, or "
    "--label-pattern REGEX."
)


@dataclass(frozen=True)
class Labelled:
    """A listed file with what the source says of it.

    Attributes:
        entry: The file.
        label: Its class, or None; of several labels their text, see `darkroom.data.task`.
        source_split: Its split, or None.
    """

    entry: FileEntry
    label: str | None
    source_split: str | None


@dataclass(frozen=True)
class Labelling:
    """All files of a source, labelled.

    Attributes:
        files: In listing order.
        decision: One sentence on how they were labelled.
        reading: What the source was taken for, in full.
        corrections: What people said of its images; None where no table of corrections was named.
        given: The source's own labels by path, before them; empty without corrections.
    """

    files: tuple[Labelled, ...]
    decision: str
    reading: Reading
    corrections: Corrections | None = None
    given: dict[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> CorrectionSummary | None:
        """What the corrections changed."""
        return self.corrections.summary(self.given) if self.corrections else None


def label_files(folder: Path, entries: Sequence[FileEntry], rules: LabelRules) -> Labelling:
    """Give each listed file its label and split; a file that is left out gets neither, and a reason.

    Args:
        folder: The source.
        entries: All its files, as `list_files` gives them.
        rules: How labels are found.

    Raises:
        LabelError: where the source can be read in two ways, the rules name something that does not exist, a label is
            not one of `rules.classes`, or fewer than two classes are found.
    """
    every_image = [entry for entry in entries if entry.reason is None]
    entries = _with_reasons(entries, rules)
    _stop_at_links(folder, entries, rules)
    _stop_at_packed_images(folder, entries, rules)
    corrections = read_corrections(folder, every_image, rules) if rules.corrections else None
    images = [entry for entry in entries if entry.reason is None]
    folders = {parent_folder(entry.path) for entry in images}
    _stop_at_unknown_class_folders(folders, rules)
    layout = read_layout(folders, level=LEVELS.get(rules.source, "auto"), class_folders=rules.class_folders)
    source = Source(folder, entries, images, layout, rules)
    found = find_labels(source) if corrections is None else find_labels(_without_tables(source, corrections))
    given = found.labels
    if corrections:
        source, found = _corrected(source, found, corrections)
        entries, images = list(source.entries), list(source.images)
    found = _with_small_classes_left_out(found, rules)
    _check(source, found)
    split_of = {entry.path: found.splits.get(entry.path) or _split_of_place(layout, entry) for entry in images}
    entries = [replace(entry, reason="merged_copy") if entry.path in found.merged else entry for entry in entries]
    files = tuple(
        Labelled(entry, found.labels.get(entry.path), split_of.get(entry.path))
        if entry.reason is None
        else Labelled(entry, None, _split_of_place(layout, entry))
        for entry in entries
    )
    splits = Counter(file.source_split for file in files if file.label is not None and file.source_split)
    counted = ", ".join(f"{split} {number}" for split, number in sorted(splits.items()))
    split_words = f"; {found.splits_from or 'split folders'}: {counted}" if splits else ""
    without = len(images) - len(found.labels) - len(found.merged)
    decision = found.decision + split_words + (f"; {without} files without a label" if without else "")
    reading = _reading(source, found, split_words.removeprefix("; "))
    if corrections is None:
        return Labelling(files, decision, reading)
    said = corrections.summary(given).sentence
    return Labelling(files, decision, reading.model_copy(update={"corrections": said}), corrections, given)


def _without_tables(source: Source, corrections: Corrections) -> Source:
    """The source without tables of corrections: they are no second opinion on where the labels come from."""
    return replace(source, entries=[entry for entry in source.entries if entry.path not in corrections.tables])


def _corrected(source: Source, found: Found, corrections: Corrections) -> tuple[Source, Found]:
    """The source and its labels as people corrected them; an image that they name is used although a rule excludes it.

    An image that they leave out gets the reason `excluded`.
    """
    corrections.check(found.labels, found.merged)
    said = corrections.labels
    entries = [
        replace(entry, reason=EXCLUDED if said[entry.path] == EXCLUDE else None) if entry.path in said else entry
        for entry in source.entries
    ]
    images = [entry for entry in entries if entry.reason is None]
    corrected = replace(
        found,
        labels=corrections.apply(found.labels),
        decision=f"{found.decision}; {corrections.summary(found.labels)}",
        left_out=(*found.left_out, *corrections.left_out),
        tables=(*found.tables, *corrections.tables),
    )
    return replace(source, entries=entries, images=images), corrected


def _stop_at_unknown_class_folders(folders: set[str], rules: LabelRules) -> None:
    names = {part for folder in folders for part in folder.split("/") if part}
    unknown = sorted(set(rules.class_folders) - names)
    if unknown:
        raise LabelError(
            f"--class-folder names {unknown[0]!r}, and no folder with images is called so: there are "
            f"{listed(names) or 'none'}. Correct it."
        )


def _stop_at_links(folder: Path, entries: Sequence[FileEntry], rules: LabelRules) -> None:
    """A folder or a table that is a link out of the source would be missed in silence: its content is nowhere else."""
    out = [each for each in entries if each.reason == "link_outside" and not rules.excludes(each.path)]
    linked = [each.path for each in out if os.path.isdir(folder / each.os_path)]
    if linked:
        raise LabelError(
            f"{linked[0]} is a link to a folder, and such links are not followed ({len(linked)} here). Copy what they "
            f"lead to (cp -rL), give that folder as the source, or leave it out with --exclude '{linked[0]}'."
        )
    tables = [each.path for each in out if each.path.lower().endswith(TABLE_SUFFIXES)]
    if tables and rules.source == "auto" and not rules.csv and not rules.pattern:
        raise LabelError(
            f"{tables[0]} is a link to a file outside, and such links are not followed. If it holds labels, copy it "
            f"(cp -L) or give it with --labels-csv '{tables[0]}'; if not, leave it out with --exclude '{tables[0]}'."
        )


def _stop_at_packed_images(folder: Path, entries: Sequence[FileEntry], rules: LabelRules) -> None:
    """Archives beside images: more of the data set, or what it came in."""
    images = [entry.path for entry in entries if is_loose_image(entry)]
    kept = [each for each in entries if not rules.excludes(each.path)]
    packed = [*packed_images(folder, kept), *images_in_parquet(folder, kept)] if images else []
    if packed:
        suffix = packed[0].path.removeprefix(without_suffix(packed[0].path)) or PARQUET_SUFFIX
        kind = "Parquet files" if suffix == PARQUET_SUFFIX else "archives"
        raise LabelError(
            f"{printable(str(folder))} holds {len(images)} images, and {len(packed)} {kind} that may hold more, as "
            f"{packed[0].path}. If the images alone are the data set, use --exclude '*{suffix}'; if the {kind} belong "
            "to it, unpack them, or give them in a folder of their own."
        )


def _split_of_place(layout: Layout, entry: FileEntry) -> str | None:
    place = layout.places.get(parent_folder(entry.path))
    return place.split if place else None


def _with_reasons(entries: Sequence[FileEntry], rules: LabelRules) -> list[FileEntry]:
    """The entries, with a reason on those that the rules leave out."""
    excluded = {entry.path for entry in entries if entry.reason is None and rules.excludes(entry.path)}
    images = [entry for entry in entries if entry.reason is None and entry.path not in excluded]
    masks = find_masks(images) if rules.masks == "leave-out" else set()
    reason: dict[str, ReasonCode] = {**dict.fromkeys(excluded, EXCLUDED), **dict.fromkeys(masks, MASK)}
    return [replace(entry, reason=reason[entry.path]) if entry.path in reason else entry for entry in entries]


def _reading(source: Source, found: Found, split_words: str) -> Reading:
    """All of it, for a person to look at."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for entry in source.entries:
        if entry.reason and entry.path not in found.tables:
            by_reason[entry.reason].append(entry.path)
    excluded = "files that --exclude names"
    words: dict[str, str] = {
        "stray_file": "files that are not images",
        EXCLUDED: "files that --exclude or a correction names" if source.rules.corrections else excluded,
        MASK: "masks of other images (use them with --masks use)",
    }
    unlabelled = [e.path for e in source.images if e.path not in found.labels and e.path not in found.merged]
    left_out = [LeftOut.of(words.get(reason, f"files as {reason!r}"), paths) for reason, paths in by_reason.items()]
    if unlabelled:
        left_out.append(LeftOut.of("images without a label", unlabelled))
    if found.merged:
        left_out.append(LeftOut.of("copies in other class folders, which add their labels", sorted(found.merged)))
    nothing = [each for each in source.rules.exclude if not any(fnmatchcase(e.path, each) for e in source.entries)]
    left_out += [LeftOut.of(f"files that --exclude {each!r} names", []) for each in nothing]
    counts = _counts(source.rules, found)
    return Reading(
        task=source.rules.task,
        num_negative=sum(not text for text in found.labels.values()),
        num_images=len(source.images),
        num_labelled=len(found.labels),
        labels_from=found.decision,
        classes=tuple(ClassSize(label=label, num_images=number) for label, number in sorted(counts.items())),
        splits_from=split_words or "none in the source",
        left_out=(*left_out, *found.left_out),
    )


def _counts(rules: LabelRules, found: Found) -> Counter[str]:
    """Images by label."""
    task = TASKS[rules.task]
    return Counter(name for text in found.labels.values() for name in task.names(text))


def _with_small_classes_left_out(found: Found, rules: LabelRules) -> Found:
    counts, task = _counts(rules, found), TASKS[rules.task]
    small = sorted(label for label, number in counts.items() if number < rules.min_class_size)
    if not small:
        return found
    labels = {
        path: text for path, text in found.labels.items() if not text or not set(small).issuperset(task.names(text))
    }
    kept = {path: task.text(set(task.names(text)) - set(small)) for path, text in labels.items()}
    left_out = LeftOut.of(f"classes of fewer than {rules.min_class_size} images", small)
    words = f"; {len(small)} classes of fewer than {rules.min_class_size} images left out"
    return replace(found, labels=kept, decision=found.decision + words, left_out=(*found.left_out, left_out))


def _check(source: Source, found: Found) -> None:
    """Refuse what nothing can be learned from, and a label that is none of the classes (() allows any)."""
    counts, task = _counts(source.rules, found), TASKS[source.rules.task]
    if not counts:
        raise LabelError(f"No image in {source} has a label ({found.decision}). {_why_not(source, found)}{_REMEDY}")
    classes = source.rules.classes
    unknown = next(
        ((path, name) for path, text in found.labels.items() for name in task.names(text) if name not in classes), None
    )
    if unknown is not None and classes:
        raise LabelError(
            f"{unknown[0]} has the label {unknown[1]!r} ({found.decision}), which is not one of "
            f"{', '.join(classes)}. Correct it, or add the label to the classes of the recipe."
        )
    _stop_at_alike(source, set(counts))
    if len(counts) == 1:
        ((label, number),) = counts.items()
        raise LabelError(
            f"All {number} labelled images in {source} are of one class, {label!r} ({found.decision}); classification "
            f"needs two or more. {_why_not(source, found)}{_REMEDY}"
        )


def _stop_at_alike(source: Source, labels: set[str]) -> None:
    """Refuse `Cat` beside `cat` unless the user has said where the labels come from: one class, or two?

    The same for what looks alike: accents in two encodings, blanks and hyphens, invisible characters; and where all
    classes are numbers, `1` and `1.0`, which pandas makes of it where a number is missing.
    """
    known: dict[str, str] = {}
    are_numbers = all(re.fullmatch(r"-?\d+(?:\.\d+)?", label, re.ASCII) for label in labels)
    for label in sorted(labels):
        seen = re.sub(r"\.0+$", "", label) if are_numbers else _appearance(label)
        other = known.setdefault(seen, label)
        copied = _COPY.fullmatch(label)
        if copied and copied["name"] in labels:
            other = copied["name"]
        if other != label and source.rules.source == "auto" and not source.rules.csv:
            in_case = other.casefold() == label.casefold()
            how = "case" if in_case else "the mark of a copy" if copied else "spelling"
            words = (
                f"{other!r} and {label!r} differ in {how}" if in_case else f"{other!a} and {label!a} differ in {how}"
            )
            raise LabelError(
                f"The classes {words} alone. If they are one class, give them one "
                "spelling; if they are two, say so with --labels-from parent-folder, or for a table with --labels-csv "
                "FILE."
            )


def _appearance(label: str) -> str:
    """What a label looks like to a person."""
    visible = "".join(each for each in unicodedata.normalize("NFC", label) if unicodedata.category(each) != "Cf")
    return re.sub(r"(?<=\w)[\s_-]+(?=\w)", "_", visible.strip()).casefold()


def _why_not(source: Source, found: Found) -> str:
    """A sentence on what the source holds instead of images or labels, where that explains it."""
    links = [
        entry.path for entry in source.entries if entry.reason in ("link_outside", "link_to_folder", "broken_link")
    ]
    suffixes = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")
    packed = [entry.path for entry in source.entries if entry.path.lower().endswith(suffixes)]
    if links and len(links) >= len(source.images):
        return (
            f"It holds {len(links)} links, as {links[0]}, and links to folders or out of the source are not followed: "
            "give the folder that they lead to, or copy the files (cp -rL). "
        )
    if packed:
        return f"It holds {len(packed)} archives, as {packed[0]}: unpack them, or give one of them as the source. "
    sheets = [entry.path for entry in source.entries if entry.path.lower().endswith((".xlsx", ".xls", ".ods"))]
    arrays = [entry.path for entry in source.entries if entry.path.lower().endswith(".npz")]
    if sheets:
        return f"{sheets[0]} may hold labels, and spreadsheets are not read: save it as CSV. "
    if arrays:
        return f"{arrays[0]} may hold images, and arrays are read one file at a time: give it as the source. "
    tables = [each for each in found.left_out if each.what.startswith(UNUSED_TABLE)]
    if tables:
        return f"The {tables[0].what} is {tables[0].examples[0]}. "
    if not source.images:
        return f"It holds {len(source.entries)} files, none of which is an image by its name. "
    return ""
