"""How percentages are formatted."""

from __future__ import annotations


def percent(share: float, unit: bool = True) -> str:
    """A share as `97.9 %`; what is not quite all or nothing is never rounded to 100.0 or 0.0."""
    value = round(100 * share, 1)
    if share < 1:
        value = min(value, 99.9)
    if share > 0:
        value = max(value, 0.1)
    return f"{value:.1f}" + ("\N{NO-BREAK SPACE}%" if unit else "")
