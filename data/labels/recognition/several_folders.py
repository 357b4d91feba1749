"""The same image in several class folders: all of these labels apply to it, if an image may have several."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from darkroom.data.errors import ImageError, LabelError
from darkroom.data.labels.from_folders import Found, Source
from darkroom.data.labels.label_cells import USE_MULTI_LABEL
from darkroom.data.parallel import num_cpus, ordered_map
from darkroom.data.stores.listing import FileEntry, read_file
from darkroom.data.task import MULTI_LABEL

# Of all images: fewer copies under another label are mistakes of the source, which the gate for leaks quarantines.
_FEW = 0.1
# Bytes; no file of an image is smaller.
_SMALLEST = 35


def merge_several_folders(source: Source, found: Found) -> Found:
    """Class folders read for several labels: of equal files the first has the labels of all, the others are `merged`.

    Files are equal by their bytes, whatever their names. With one label an image nothing is merged.

    Args:
        source: The source.
        found: What its class folders say.
    """
    if source.rules.task == "single-label":
        return found
    labels = {path: MULTI_LABEL.text([label]) for path, label in found.labels.items()}
    merged: dict[str, str] = {}
    for group in _equal_files(source, labels):
        first, *others = [entry.path for entry in group]
        if len({labels[path] for path in (first, *others)}) > 1:
            labels[first] = MULTI_LABEL.text(labels[path] for path in (first, *others))
            merged |= dict.fromkeys(others, first)
            for path in others:
                del labels[path]
    words = f"; {len(merged)} copies in other class folders add their labels" if merged else ""
    return replace(found, labels=labels, decision=found.decision + words, merged=merged)


def stop_at_several_folders(source: Source, found: Found) -> None:
    """Refuse class folders of which over a tenth of the images, by name and content, lie in two of them.

    Args:
        source: The source.
        found: What its class folders say.

    Raises:
        LabelError: with the options of both readings.
    """
    if source.rules.task != "single-label":
        return
    by_name: dict[tuple[str, int], list[FileEntry]] = defaultdict(list)
    for entry in source.images:
        if entry.path in found.labels and entry.size_bytes >= _SMALLEST:
            by_name[entry.path.rpartition("/")[2], entry.size_bytes].append(entry)
    likely = [group for group in by_name.values() if len({found.labels[each.path] for each in group}) > 1]
    num_likely = sum(map(len, likely))
    if num_likely <= _FEW * len(found.labels):
        return
    groups = [same for group in likely for same in _same(source, group) if len(same) > 1]
    twice = [group for group in groups if len({found.labels[each.path] for each in group}) > 1]
    if sum(map(len, twice)) > _FEW * len(found.labels):
        one, other = (entry.path for entry in twice[0][:2])
        raise LabelError(
            f"{len(twice)} images of {source} lie in several class folders, as {one} and {other}. If an image may have "
            f"several labels, use {USE_MULTI_LABEL}; if it has one, remove it from the other folders, or take the "
            "folders as they are with --labels-from folders."
        )


def _equal_files(source: Source, labels: Mapping[str, str]) -> list[list[FileEntry]]:
    """The labelled images in groups of equal bytes, those of two or more; only files of equal size are read."""
    by_size: dict[int, list[FileEntry]] = defaultdict(list)
    for entry in source.images:
        if entry.path in labels and entry.size_bytes >= _SMALLEST:
            by_size[entry.size_bytes].append(entry)
    likely = [entry for group in by_size.values() if len(group) > 1 for entry in group]
    return [group for group in _same(source, likely) if len(group) > 1]


def _same(source: Source, entries: Sequence[FileEntry]) -> list[list[FileEntry]]:
    groups: dict[str, list[FileEntry]] = defaultdict(list)
    hashes = ordered_map(partial(_hash, source), entries, num_cpus(), window=8 * num_cpus())
    for entry, sha256 in zip(entries, hashes, strict=True):
        groups[sha256].append(entry)
    return list(groups.values())


def _hash(source: Source, entry: FileEntry) -> str:
    try:
        return hashlib.sha256(read_file(source.folder, entry.os_path, entry.size_bytes)).hexdigest()
    except ImageError:  # gone, changed or unreadable: equal to no other
        return entry.path
