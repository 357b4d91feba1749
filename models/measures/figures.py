"""How percentages are formatted."""

from __future__ import annotations


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
