"""What each folder of a source is: a split, a class, or a mere container such as `images`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

_WORDS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
# On a name in lower case whose blanks and hyphens are underscores: train, Test Images, test1, valset, seg_train.
_SPLIT = re.compile(
    rf"(?:(?P<prefix>.+)_)?(?P<word>{'|'.join(_WORDS)})_?(?:set|data|dataset|images?|imgs?|folder|split)?_?\d*"
)
_CONTAINER = re.compile(r"(?:images?|imgs?|jpe?gs?|pngs?|pictures|photos)_?\d*|(?:.+_)?(?:part|batch|chunk)_?\d+")

Parts = tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """What a folder says of the files that lie directly in it; None where it says nothing."""

    label: str | None
    split: str | None


def read_layout(folders: Set[str], containers: bool = True) -> dict[str, Place]:
    """The place of each folder, judged from all of them together.

    - The outermost folder named as a split is one decides the split. A prefix, as in `seg_train`, is one only where
      the source has it on another split too: `steam_train` alone is a class.
    - The class is the innermost folder below the split, containers passed over where `containers` is True.
    - `train` beside two class folders or more, and no other split, is a class of vehicles.
    - Where the training part has class folders, a folder outside all splits (`seg_pred`, `Meta`) is no new class.

    Args:
        folders: The folders that hold images directly, relative to the source and `/`-separated; "" is the source.
        containers: Pass over `images`, `part_1` and the like.
    """
    parts_of = {folder: tuple(folder.split("/")) if folder else () for folder in folders}
    splits = _split_names({part for parts in parts_of.values() for part in parts})
    trains = _classes_named_train(set(parts_of.values()), splits)
    places = {folder: _place(parts, splits, parts in trains, containers) for folder, parts in sorted(parts_of.items())}
    trained = {place.label for place in places.values() if place.split == "train" and place.label}
    if len(trained) < 2:
        return places
    return {
        folder: place if place.split or place.label in trained else replace(place, label=None)
        for folder, place in places.items()
    }


def is_split_word(name: str) -> bool:
    """Whether a name can only mean a split, as `train` or `Test`."""
    return name.lower() in _WORDS


def _place(parts: Parts, splits: Mapping[str, str], ends_in_class: bool, containers: bool) -> Place:
    above = parts[:-1] if ends_in_class else parts
    split = next((splits[part] for part in above if part in splits), None)
    if ends_in_class:
        return Place(parts[-1], split)
    for part in reversed(parts):
        if part in splits:
            break
        if not (containers and _CONTAINER.fullmatch(_plain(part))):
            return Place(part, split)
    return Place(None, split)


def _split_names(names: Iterable[str]) -> dict[str, str]:
    """The folder names that are splits, and which."""
    found = {name: match for name in names if (match := _SPLIT.fullmatch(_plain(name)))}
    of_prefix: dict[str, set[str]] = defaultdict(set)
    for match in found.values():
        of_prefix[match["prefix"]].add(_WORDS[match["word"]])
    return {
        name: _WORDS[match["word"]]
        for name, match in found.items()
        if match["prefix"] is None or len(of_prefix[match["prefix"]]) > 1
    }


def _classes_named_train(folders: Set[Parts], splits: Mapping[str, str]) -> set[Parts]:
    inside: dict[Parts, set[str]] = defaultdict(set)
    for parts in folders:
        for depth, part in enumerate(parts):
            inside[parts[:depth]].add(part)

    def is_class(parts: Parts) -> bool:
        beside = inside[parts[:-1]] - {parts[-1]}
        return (
            parts not in inside
            and not any(name in splits for name in beside)
            and len(_holding(folders, parts[:-1], beside)) >= 2
        )

    return {parts for parts in sorted(folders) if parts and parts[-1].lower() == "train" and is_class(parts)}


def _holding(folders: Set[Parts], parent: Parts, names: Iterable[str]) -> Sequence[str]:
    """Those of `names` in `parent` that hold images directly and are no container."""
    return [name for name in names if (*parent, name) in folders and not _CONTAINER.fullmatch(_plain(name))]


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().lower())
