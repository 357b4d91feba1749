"""The rows of a prediction table: counted, and the first of them."""

from __future__ import annotations

from pathlib import Path

from darkroom.flows.inbox_result import InboxResult
from darkroom.flows.results import ScoreResult
from darkroom.models.pages.description import Table, cells_of

_FIRST_ROWS = 5


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


def first_rows(out: Path) -> Table:
    """The first rows of a prediction table."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(out / "part-00000.parquet") as file:
        label = "labels" if "labels" in file.schema_arrow.names else "label"
        columns = ("path", "status", label, "confidence", "reason")
        batch = next(file.iter_batches(batch_size=_FIRST_ROWS, columns=list(columns)))
    cells = cells_of(
        (row["path"], row["status"], _labels(row[label]), _confidence(row["confidence"]), row["reason"])
        for row in batch.to_pylist()
    )
    return Table(title="First rows", columns=columns, cells=cells)


def _labels(value: str | list[str] | None) -> str | None:
    return ", ".join(value) if isinstance(value, list) else value


def _confidence(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
