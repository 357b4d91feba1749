"""Which split a name means: of a folder, a table or a cell."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

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
# On a name in lower case whose blanks and hyphens are underscores: train, Test Images, test1, valset, seg_train,
# train-00000-of-00002.
_SPLIT = re.compile(
    rf"(?:(?P<prefix>.+)_)?(?P<word>{'|'.join(_WORDS)})_?(?:set|data|dataset|images?|imgs?|folder|split)?_?\d*"
    r"(?:_of_\d+)?"
)
# What is held out, where another name says what is trained on.
_HELD_OUT = re.compile(
    r"(?:eval|evaluation|holdout|hold_out|heldout|held_out)_?(?:set|data|dataset|images?|imgs?|folder|split)?"
)


def is_split_word(name: str) -> bool:
    """Whether a name can only mean a split, as `train` or `Test`."""
    return name.lower() in _WORDS


def split_named(name: str) -> str | None:
    """The split that a name means, as `train`, `Training_set` or `val2`; None where it means none."""
    match = _SPLIT.fullmatch(normalised(name))
    return _WORDS[match["word"]] if match and match["prefix"] is None else None


def splits_among(names: Iterable[str]) -> dict[str, str]:
    """The names that are splits, and which; one with a prefix only beside another split with the same prefix.

    So `seg_train` and `seg_test` are splits, and `bullet_train` beside `tram` is none. Beside `train`, `eval` and
    `holdout` are the test part, or the validation part where there is a test part.
    """
    names = list(names)
    found = {name: match for name in names if (match := _SPLIT.fullmatch(normalised(name)))}
    of_prefix: dict[str, set[str]] = defaultdict(set)
    for match in found.values():
        of_prefix[match["prefix"]].add(_WORDS[match["word"]])
    splits = {
        name: _WORDS[match["word"]]
        for name, match in found.items()
        if match["prefix"] is None or len(of_prefix[match["prefix"]]) > 1
    }
    taken = set(splits.values())
    free = next((split for split in ("test", "validation") if split not in taken), None)
    if "train" in taken and free:
        splits |= {name: free for name in names if _HELD_OUT.fullmatch(normalised(name))}
    return splits


def normalised(name: str) -> str:
    """A name in lower case, with one underscore for blanks, hyphens and underscores."""
    return re.sub(r"[\s_-]+", "_", name.strip().lower())
