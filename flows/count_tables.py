"""The rows of a prediction table, counted."""

from __future__ import annotations

from darkroom.flows.descriptions import cells_of
from darkroom.flows.inbox_result import InboxResult
from darkroom.flows.results import ScoreResult
from darkroom.models.pages.description import Table


def count_tables(result: ScoreResult | InboxResult) -> tuple[Table, ...]:
    """The rows of a prediction table by status, label and reason."""
    counts = {"status": result.statuses, "label": result.labels, "reason": result.reasons}
    return tuple(
        Table(
            title=f"Rows by {name}",
            columns=(name, "rows"),
            cells=cells_of((each.name, each.num_rows) for each in found),
        )
        for name, found in counts.items()
    )
