"""How numbers are written, wherever a person reads them: in results, messages, reports and pages."""

from __future__ import annotations

from collections.abc import Sequence


def count(number: int, one: str, many: str = "") -> str:
    """A number of things: `1 image`, `1,797 images`.

    Args:
        number: How many.
        one: What one of them is called.
        many: What several are called; left out, `one` and an s.
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def percent(share: float, unit: bool = True) -> str:
    """A share as `97.9 %`; only all is 100.0 and only nothing 0.0, never by rounding.

    Args:
        share: 0 to 1.
        unit: Append the percent sign.
    """
    value = round(100 * share, 1)
    if share < 1:
        value = min(value, 99.9)
    if share > 0:
        value = max(value, 0.1)
    return f"{value:.1f}" + ("\N{NO-BREAK SPACE}%" if unit else "")


def fraction(value: float | None) -> str:
    """A metric between 0 and 1 as `0.9886`; nothing where there is none."""
    return "" if value is None else f"{value:.4f}"


def interval(low: float, high: float) -> str:
    """The bounds of a metric as `0.971 to 0.996`.

    Args:
        low: The lower bound.
        high: The upper one.
    """
    return f"{low:.3f} to {high:.3f}"


def duration(seconds: float) -> str:
    """A time as `2.3 s`, `19 s`, `12 min` or `2.5 h`: two digits or three, as nobody needs more."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def size(num_bytes: float) -> str:
    """A number of bytes as `512 bytes`, `1.5 MiB` or `2.0 GiB`."""
    if num_bytes < 1024:
        return count(int(num_bytes), "byte")
    power = next(power for power in (1, 2, 3) if num_bytes < 1000 * 1024**power or power == 3)
    return f"{num_bytes / 1024**power:,.1f} {'KMG'[power - 1]}iB"


def listed(words: Sequence[str], last: str = "or") -> str:
    """Words as `stretch, pad or crop`.

    Args:
        words: The words.
        last: What stands before the last one.
    """
    return f" {last} ".join(word for word in (", ".join(words[:-1]), *words[-1:]) if word)


def some(words: Sequence[str], limit: int = 10) -> str:
    """The first few of many words: `cat, dog and 998 more`.

    Args:
        words: The words.
        limit: How many are named.
    """
    more = f" and {len(words) - limit:,} more" if len(words) > limit else ""
    return ", ".join(words[:limit]) + more
