"""How far a long step is. The function that does it reports; its caller decides whether anybody sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

# Called with what is done, how many parts of it are done, and how many there are: first with 0, last with all of them.
Progress = Callable[[str, int, int], None]


def unseen(step: str, done: int, total: int) -> None:
    """Report to nobody.

    Args:
        step: What is done.
        done: Parts of it that are done.
        total: All parts.
    """


def counted(items: Iterable[T], progress: Progress, step: str, done: int, total: int) -> Iterator[T]:
    """The items, each reported when the next is asked for.

    Args:
        items: What is worked on, one after the other.
        progress: To whom it is reported.
        step: What is done.
        done: Parts of it that were done before the first item.
        total: All parts.
    """
    for number, item in enumerate(items, start=done + 1):
        yield item
        progress(step, number, total)
