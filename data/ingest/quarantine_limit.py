"""The quarantine limit: an ingest fails where too large a share of the labelled images cannot be used."""

from __future__ import annotations

import pyarrow as pa

from darkroom.data.dataset.manifest import count_reasons
from darkroom.data.errors import InputError
from darkroom.data.reason_codes import HARMLESS_REASONS


def check_quarantine_limit(manifest: pa.Table, max_share: float, folder: str) -> None:
    """Check that not too many of the labelled files, and not all of them, are unusable.

    Files that are quarantined but not broken (`HARMLESS_REASONS`) do not count.

    Args:
        manifest: With the column `reason`.
        max_share: 0 to 1.
        folder: The source's, for the message.

    Raises:
        InputError: where the limit is exceeded.
    """
    reasons = count_reasons(manifest)
    broken = sum(number for reason, number in reasons.items() if reason not in HARMLESS_REASONS)
    used = manifest.num_rows - sum(reasons.values())
    if broken > max_share * (used + broken) or used == 0:
        most = next((reason for reason in reasons if reason not in HARMLESS_REASONS), "unlabelled")
        raise InputError(
            f"{folder}: {broken} of {used + broken} labelled files cannot be used, most of them {most!r}; the limit is "
            f"{max_share:.0%}. Repair the source, or raise --max-quarantined-share."
        )
