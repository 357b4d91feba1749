"""What each folder of a source is: a split, a class, or a mere container such as `images`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Literal

from darkroom.data.split_names import normalised, splits_among

_CONTAINER = re.compile(r"(?:images?|imgs?|jpe?gs?|pngs?|pictures|photos)_?\d*|(?:.+_)?(?:part|batch|chunk)_?\d+")
# Who or what was photographed, when, or in which round: never a class where a better one is above or below it.
_SESSION = re.compile(
    r"(?:day|week|month|year|session|sess|visit|date|night|run|take|patient|pat|subject|subj|person|case|study|series|"
    r"slide|camera|cam|site|hospital|device|fold|split|set|round|batch|part|chunk)_?\d+|p_?\d{2,}|s_?\d{3,}|"
    r"(?:19|20)\d\d(?:[_.]?[01]\d(?:[_.]?[0-3]\d)?)?|[0-3]?\d[_.][01]?\d[_.](?:19|20)\d\d"
)
# The same pictures in another form: what is below such folders says what they show.
_VARIANT = re.compile(
    r"(?:colou?rs?|gr[ae]y(?:scale)?|segmented|segmentation|rgb|raw|original|originals|cropped|resized|augmented|"
    r"normal(?:ised|ized)|enhanced|thumbnails?|small|large|\d+x\d+)"
)
# What is still to be sorted into classes.
_UNSORTED = re.compile(
    r"(?:un|not_)(?:labell?ed|sorted|annotated|tagged)(?:_(?:images?|data))?|(?:to_?)(?:predict|label|sort|classify)"
)

Parts = tuple[str, ...]
Level = Literal["auto", "top", "parent"]


@dataclass(frozen=True)
class Place:
    """What a folder says of the files directly in it.

    Attributes:
        label: Their class, or None.
        split: `train`, `validation`, `test`, or None.
    """

    label: str | None
    split: str | None


@dataclass(frozen=True)
class Doubt:
    """Two ways to read the folders.

    Attributes:
        readings: Each in words, with the option that chooses it.
    """

    readings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Layout:
    """What all folders of a source say.

    Attributes:
        places: By folder, `/`-separated.
        doubt: Where the folders can be read in two ways and nothing decides.
    """

    places: Mapping[str, Place]
    doubt: Doubt | None = None

    def classes(self) -> set[str]:
        """The names of all classes."""
        return {place.label for place in self.places.values() if place.label}


def read_layout(
    folders: Set[str], containers: bool = True, level: Level = "auto", class_folders: Collection[str] = ()
) -> Layout:
    """The place of each folder, decided from all of them together.

    - The innermost folder named as a split decides the split: `train/val` is validation. A prefix, as in `seg_train`,
      makes one only where the source has the same prefix on another split: `steam_train` alone is a class.
    - The class is a folder below the split; where there is none below any split, the one above (`cats/train`).
    - Of nested folders the class is the one that is not a day, a patient or the like. Where both could be it, the
      layout is in doubt; `level` settles it.
    - `train` beside two or more class folders, and no other split, is a class of vehicles. Any other split or container
      (`test`, `photos`) beside class folders, itself with images and no classes, is in doubt.
    - Where the training split has class folders, a folder outside all splits (`seg_pred`, `Meta`) is no new class.

    Args:
        folders: Those that hold images directly, relative to the source and `/`-separated; "" is the source.
        containers: Skip `images`, `part_1` and the like.
        level: The class is the outermost folder (`top`), the one that holds the file (`parent`), or recognised
            (`auto`).
        class_folders: Names of folders that are classes whatever they look like.
    """
    parts_of = {folder: tuple(folder.split("/")) if folder else () for folder in folders}
    names = {part for parts in parts_of.values() for part in parts} - set(class_folders)
    splits = splits_among(names)
    trains = _classes_named_train(set(parts_of.values()), splits)
    passed = {name for name in names if containers and _CONTAINER.fullmatch(normalised(name))}
    read = {
        folder: _split_and_names(parts, splits, passed, parts in trains) for folder, parts in sorted(parts_of.items())
    }
    inside_out = _class_above_split(read)
    candidates = {folder: (above if inside_out else below) for folder, (_, above, below) in read.items()}
    trained_in = {folder for folder, (split, _, _) in read.items() if split == "train" and candidates[folder]}
    judged = {folder for folder in read if read[folder][0]} if trained_in else set(read)
    chosen, doubt = _one_of_each({folder: candidates[folder] for folder in judged}, level)
    chosen |= {folder: candidates[folder][-1] if candidates[folder] else None for folder in read.keys() - judged}
    places = {folder: Place(chosen[folder], split) for folder, (split, _, _) in read.items()}
    trained = {place.label for place in places.values() if place.split == "train" and place.label}
    if len(trained) >= 2:
        places = {
            folder: place if place.split or place.label in trained else replace(place, label=None)
            for folder, place in places.items()
        }
    if not doubt and level == "auto":
        doubt = _taken_name(parts_of, places, splits, passed) or _unsorted(places, class_folders)
    return Layout(places, doubt)


def is_session(name: str) -> bool:
    """Whether a name is a day, a patient, a camera or the like, with its number."""
    return _SESSION.fullmatch(normalised(name)) is not None


def _split_and_names(
    parts: Parts, splits: Mapping[str, str], passed: Set[str], ends_in_class: bool
) -> tuple[str | None, Parts, Parts]:
    """The split of a folder, and the names above and below it that could be a class; without a split all are below."""
    above = parts[:-1] if ends_in_class else parts
    split = next((splits[part] for part in reversed(above) if part in splits), None)
    if ends_in_class:
        return split, (), parts[-1:]
    last = max((index for index, part in enumerate(parts) if part in splits), default=-1)
    first = next((index for index, part in enumerate(parts) if part in splits), len(parts))
    before = tuple(part for part in parts[:first] if part not in passed) if last >= 0 else ()
    return split, before, tuple(part for part in parts[last + 1 :] if part not in passed)


def _class_above_split(read: Mapping[str, tuple[str | None, Parts, Parts]]) -> bool:
    """Whether each class has its own splits inside: `cats/train`, `cats/test`, `dogs/train`, `dogs/test`."""
    splits_of: dict[Parts, set[str]] = defaultdict(set)
    for split, above, below in read.values():
        if split and below:
            return False
        if split:
            splits_of[above].add(split)
    same = len({frozenset(splits) for splits in splits_of.values()}) == 1
    return len(splits_of) >= 2 and () not in splits_of and same


def _one_of_each(candidates: Mapping[str, Parts], level: Level) -> tuple[dict[str, str | None], Doubt | None]:
    """The class of each folder, of the names that could be it, the outermost first."""
    parents = {folder: names[-1] if names else None for folder, names in candidates.items()}
    wrapped = _without_wrappers([names for names in candidates.values() if names])
    tops = {folder: names[wrapped] if len(names) > wrapped else parents[folder] for folder, names in candidates.items()}
    if level != "auto":
        return (tops if level == "top" else parents), None
    if tops == parents:
        return parents, None
    above, below = ({name for name in found.values() if name} for found in (tops, parents))
    if len(above) < 2:
        return parents, None
    if len(below) < 2 or (_all_sessions(below - above) and not _all_sessions(above)):
        return tops, None
    if _all_sessions(above) or all(_VARIANT.fullmatch(normalised(name)) for name in above):
        return parents, None
    return parents, Doubt(
        (
            (f"the top folders are the classes ({_listed(above)})", "--labels-from top-folder"),
            (f"the folders that hold the images are the classes ({_listed(below)})", "--labels-from parent-folder"),
        )
    )


def _without_wrappers(found: Sequence[Parts]) -> int:
    """How many of the outermost names all paths share, and more follow."""
    depth = 0
    while found and all(len(names) > depth + 1 for names in found) and len({names[depth] for names in found}) == 1:
        depth += 1
    return depth


def _all_sessions(names: Set[str]) -> bool:
    return bool(names) and all(is_session(name) for name in names)


def _taken_name(
    parts_of: Mapping[str, Parts], places: Mapping[str, Place], splits: Mapping[str, str], passed: Set[str]
) -> Doubt | None:
    """A folder beside two or more classes that is named like a split or a container and holds images of its own.

    Beside `cats` and `dogs`, `test` may hold what is to be predicted, or be a class.
    """
    holding = set(parts_of.values())
    for parts in sorted(holding):
        if not parts or (parts[-1] not in splits and parts[-1] not in passed):
            continue
        if places["/".join(parts)].label == parts[-1] or any(
            other[: len(parts)] == parts for other in holding - {parts}
        ):
            continue
        beside = [
            other[-1]
            for other in holding
            if other and other[:-1] == parts[:-1] and places["/".join(other)].label == other[-1]
        ]
        alone = {place.label for place in places.values()} - {None} == set(beside)
        if len(beside) >= 2 or (beside and (alone or parts[-1] in passed)):
            kind = "the images to be predicted or held out" if parts[-1] in splits else "images of no class"
            return Doubt(
                (
                    (f"{parts[-1]!r} is a class beside {_listed(set(beside))}", f"--class-folder {parts[-1]}"),
                    (f"{parts[-1]!r} holds {kind}", f"--exclude '{'/'.join(parts)}/*'"),
                )
            )
    return None


def _unsorted(places: Mapping[str, Place], class_folders: Collection[str]) -> Doubt | None:
    """A folder `unlabelled` beside two or more class folders, which holds their images before they are sorted."""
    classes = {place.label for place in places.values() if place.label}
    for folder, place in sorted(places.items()):
        name = place.label
        if name and name not in class_folders and _UNSORTED.fullmatch(normalised(name)) and len(classes) > 2:
            return Doubt(
                (
                    (f"{name!r} is a class beside {_listed(classes - {name})}", f"--class-folder {name}"),
                    (f"{name!r} holds images of no class", f"--exclude '{folder}/*'"),
                )
            )
    return None


def _listed(names: Set[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")


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
    return [name for name in names if (*parent, name) in folders and not _CONTAINER.fullmatch(normalised(name))]
