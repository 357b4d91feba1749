"""What watching a run gives: part of the results of scoring, in words, and as an artifact of its own."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from darkroom.data.errors import LimitError
from darkroom.data.figures import percent
from darkroom.models.pages.description import Description, Row, Table
from darkroom.models.watching.history import WatchLine
from darkroom.models.watching.watch import Watched
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.watching import report

R = TypeVar("R", bound=Any)


class WatchResult(BaseModel):
    """How a run compares with training and the last runs.

    `drift` is None where there is nothing to compare with, `expected_accuracy` where it is not to be trusted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    unfamiliar: float | None
    drift: float | None
    drifted: tuple[str, ...]
    auc: float | None
    expected_accuracy: float | None
    expected_low: float | None
    expected_high: float | None
    withheld: str | None
    beyond_limits: tuple[str, ...]
    page: str

    @classmethod
    def of(cls, watched: Watched) -> WatchResult:
        line, expected = watched.line, watched.line.expected_accuracy
        figures = line.figures
        return cls(
            unfamiliar=figures.unfamiliar,
            drift=figures.drift,
            drifted=tuple(each.found for each in line.drift.found) if line.drift else (),
            auc=line.drift.auc if line.drift else None,
            expected_accuracy=expected.value if expected else None,
            expected_low=expected.low if expected else None,
            expected_high=expected.high if expected else None,
            withheld=expected.withheld if expected else None,
            beyond_limits=tuple(each.sentence for each in line.breaches),
            page=watched.page,
        )


def watch_rows(watched: WatchResult | None) -> list[tuple[str, str]]:
    """The lines of a result that tell it; none where nothing was watched."""
    if watched is None:
        return []
    if watched.drift is None and watched.withheld is None:
        return [("limit", sentence) for sentence in watched.beyond_limits]
    most = f" ({watched.drifted[0]})" if watched.drifted else ""
    size = "not known" if watched.drift is None else f"{watched.drift:.2f}{most}" if watched.drift else "none"
    expected = f"withheld: {watched.withheld}"
    if watched.expected_accuracy is not None:
        expected = f"{watched.expected_accuracy:.2f} ({watched.expected_low:.2f} to {watched.expected_high:.2f})"
    return [
        ("watched", f"drift {size}; expected accuracy {expected}"),
        *(("limit", sentence) for sentence in watched.beyond_limits),
        ("last runs", watched.page),
    ]


def settle(result: R, watched: Watched, table: str) -> R:
    """Show the last runs as an artifact, report the limits that are exceeded, and fail the run where one says so.

    Args:
        result: The run's, which is given back.
        watched: What came of watching it.
        table: The name of its table.

    Raises:
        LimitError: naming the limit, the value and the page.
    """
    show_result(_description(watched), "last-runs", table)
    report(watched, result.out)
    if watched.failed:
        error = LimitError(f"{watched.failed.sentence}. The table is whole. See {watched.page}")
        error.result = result
        raise error
    return result


def _description(watched: Watched) -> Description:
    lines = watched.history.of_model(watched.line.model)
    columns = ("run", "new files", "quarantined", "abstained", "unfamiliar", "drift", "expected accuracy", "images/s")
    cells = tuple(_cells(line) for line in reversed(lines))
    said = tuple(f"{each.sentence}." for each in watched.line.breaches)
    drifted = watched.line.drift.found if watched.line.drift else ()
    rows = [Row(label=f"drift in {each.quantity}", text=each.found) for each in drifted]
    rows.append(Row(label="page", text=watched.page))
    title = f"The last runs of {watched.line.model}"
    return Description(title=title, rows=tuple(rows), remarks=said).with_tables(
        Table(title="Run by run", columns=columns, cells=cells)
    )


def _cells(line: WatchLine) -> tuple[str, ...]:
    figures = line.figures
    shares = (figures.quarantined, figures.abstained, figures.unfamiliar)
    reasons = f" ({', '.join(f'{name}: {number:,}' for name, number in line.reasons.items())})" if line.reasons else ""
    quarantined, abstained, unfamiliar = ("–" if share is None else percent(share) for share in shares)
    return (
        line.date,
        f"{line.num_new:,}",
        quarantined + reasons,
        abstained,
        unfamiliar,
        "–" if figures.drift is None else f"{figures.drift:.2f}" if figures.drift else "none",
        line.expected_accuracy.text if line.expected_accuracy else "–",
        "–" if line.images_per_second is None else f"{line.images_per_second:,.0f}",
    )
