"""From a service's words to the user's classes: a YAML file, which may be drafted from labelled images.

cats: [cat, kitten, feline]
dogs: [dog, puppy, canine]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from darkroom.data.errors import InputError, SettingError
from darkroom.data.files.hashing import content_version
from darkroom.models.cloud.service import Word

_MAX_BYTES = 2**20
# A drafted word must have been said of so many images, and mostly of those of one class.
_MIN_IMAGES, _MIN_SHARE = 2, 0.8


@dataclass(frozen=True)
class WordMap:
    """Classes, and the words that stand for them; case makes no difference.

    Attributes:
        words: The words of each class.
    """

    words: Mapping[str, tuple[str, ...]]

    @property
    def key(self) -> str:
        """A hash of it."""
        return content_version({label: sorted(map(str.casefold, words)) for label, words in self.words.items()})

    def classes_of(self, words: Iterable[Word]) -> tuple[Word, ...]:
        """The classes that some words stand for, each with the confidence of its most confident word, largest first.

        Args:
            words: A service's.
        """
        of_word = {word.casefold(): label for label, words in self.words.items() for word in (*words, label)}
        found: dict[str, float] = {}
        for word in words:
            label = of_word.get(word.text.casefold())
            if label is not None:
                found[label] = max(found.get(label, 0.0), word.confidence)
        return tuple(Word(label, found[label]) for label in sorted(found, key=lambda label: (-found[label], label)))


def read_word_map(path: Path) -> WordMap:
    """Read a word map.

    Raises:
        InputError: where it cannot be read.
        SettingError: where it is no map of classes to words, or a word stands for two classes.
    """
    try:
        with path.open("rb") as stream:
            content = yaml.safe_load(stream.read(_MAX_BYTES))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        raise InputError(f"The word map {path} cannot be read. Give a YAML file such as: cats: [cat, kitten]") from None
    if not isinstance(content, dict) or len(content) < 2:
        raise SettingError(f"{path} must name at least two classes, each with its words, such as: cats: [cat, kitten]")
    words: dict[str, tuple[str, ...]] = {}
    seen: dict[str, str] = {}
    for label, given in content.items():
        if not isinstance(given, list) or not all(isinstance(word, str) for word in (label, *given)):
            raise SettingError(f"{path}: the words of {label!r} must be a list of texts; quote yes, no and numbers.")
        for word in {each.casefold() for each in (label, *given)}:
            if seen.setdefault(word, label) != label:
                raise SettingError(
                    f"{path}: {word!r} stands for {seen[word]!r} and {label!r}. Keep it for one of them."
                )
        words[label] = tuple(given)
    return WordMap(words)


def draft_word_map(answers: Iterable[tuple[str, tuple[Word, ...]]]) -> WordMap:
    """The words that mostly came with images of one class, the most frequent first.

    Args:
        answers: The true class of each image, and what the service said of it.
    """
    said: dict[str, Counter[str]] = {}
    labels: Counter[str] = Counter()
    for label, words in answers:
        labels[label] += 1
        for word in {each.text for each in words}:
            said.setdefault(word, Counter())[label] += 1
    words_of: dict[str, list[tuple[int, str]]] = {label: [] for label in labels}
    for word, counts in said.items():
        # By shares, so that a class with more images does not get every word.
        shares = {label: counts[label] / labels[label] for label in counts}
        best = max(shares, key=lambda label: (shares[label], label))
        if counts[best] >= _MIN_IMAGES and shares[best] >= _MIN_SHARE * sum(shares.values()):
            words_of[best].append((-counts[best], word))
    return WordMap({label: tuple(word for _, word in sorted(words_of[label])) for label in sorted(words_of)})


def write_word_map(words: WordMap) -> str:
    """A word map as YAML."""
    content = {label: list(each) for label, each in words.words.items()}
    text: str = yaml.safe_dump(content, allow_unicode=True, sort_keys=True, default_flow_style=None, width=120)
    return text
