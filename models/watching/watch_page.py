"""`<table>.watch.html`: the last runs as small charts, drift in words, and the images that a person should look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from darkroom.data.figures import percent
from darkroom.models.pages.page import data_uri, render, write_page
from darkroom.models.watching.history import WatchHistory, WatchLine
from darkroom.models.watching.request import WatchRequest
from darkroom.models.watching.run_images import Row, Tally, pictures

_WIDTH, _HEIGHT, _EDGE = 300, 72, 6


@dataclass(frozen=True)
class Dot:
    """A run in a chart.

    Attributes:
        x, y: Where, in pixels.
        title: What it says.
        is_bad: Whether it breaks the chart's limit.
    """

    x: float
    y: float
    title: str
    is_bad: bool


@dataclass(frozen=True)
class Chart:
    """A quantity of the last runs, as a line; a run of which it is not known leaves a gap.

    Attributes:
        name: Of the quantity.
        now: Its last value in words.
        top: What the upper edge stands for; the lower one is 0.
        lines: Of each stretch without a gap, its points as SVG writes them.
        dots: The runs.
        width, height: In pixels.
    """

    name: str
    now: str
    top: str
    lines: tuple[str, ...]
    dots: tuple[Dot, ...]
    width: int = _WIDTH
    height: int = _HEIGHT


def write_watch_page(request: WatchRequest, history: WatchHistory, line: WatchLine, found: Tally) -> None:
    """Write the page of a table.

    Args:
        request: The run.
        history: All lines.
        line: The run's.
        found: Its rows.
    """
    lines = history.of_model(line.model)
    page = render(
        "watch.html.j2",
        table=request.table.reference,
        folder=request.images.reference,
        line=line,
        charts=charts(lines),
        runs=list(reversed(lines)),
        strangest=_shown(found.strangest, request),
        least_certain=_shown(found.least_certain, request),
        figures_of=lambda each: each.figures,
    )
    write_page(request.table.paths.watch_page, page)


def charts(lines: Sequence[WatchLine]) -> list[Chart]:
    """The charts of some runs, in their order.

    Args:
        lines: The oldest first.
    """
    figures = [line.figures for line in lines]
    found = [
        _chart("New files", lines, [float(line.num_new) for line in lines], "min_new_files"),
        _chart("Quarantined", lines, [each.quarantined for each in figures], "max_quarantined"),
        _chart("Abstained", lines, [each.abstained for each in figures], "max_abstained"),
        _chart("Unfamiliar", lines, [each.unfamiliar for each in figures], "max_unfamiliar"),
        _chart("Drift", lines, [each.drift for each in figures], "max_drift"),
        _chart("Expected accuracy", lines, [each.expected_accuracy for each in figures], "min_expected_accuracy"),
        _chart("Images per second", lines, [line.images_per_second for line in lines], ""),
    ]
    reasons = sorted({reason for line in lines for reason in line.reasons})
    for reason in reasons:
        shares = [line.reasons.get(reason, 0) / line.num_new if line.num_new else None for line in lines]
        found.append(_chart(f"Quarantined as {reason}", lines, shares, ""))
    return found


def _chart(name: str, lines: Sequence[WatchLine], values: Sequence[float | None], limit: str) -> Chart:
    is_number = name in ("New files", "Images per second")
    most = max((value for value in values if value is not None), default=0.0)
    top = (most or 1.0) if is_number else 1.0 if most > 0.5 else max(0.1, 2 * most)
    step = (_WIDTH - 2 * _EDGE) / max(1, len(values) - 1)
    stretches: list[list[Dot]] = [[]]
    for place, (line, value) in enumerate(zip(lines, values, strict=True)):
        if value is None:
            stretches.append([])
            continue
        y = _HEIGHT - _EDGE - value / top * (_HEIGHT - 2 * _EDGE)
        title = f"{line.date}: {_written(name, value)}"
        is_bad = any(breach.name == limit for breach in line.breaches)
        stretches[-1].append(Dot(round(_EDGE + place * step, 1), round(y, 1), title, is_bad))
    now = values[-1] if values else None
    return Chart(
        name,
        "–" if now is None else _written(name, now),
        _written(name, top),
        tuple(" ".join(f"{dot.x},{dot.y}" for dot in stretch) for stretch in stretches if len(stretch) > 1),
        tuple(dot for stretch in stretches for dot in stretch),
    )


def _written(name: str, value: float) -> str:
    if name in ("New files", "Images per second"):
        return f"{value:,.0f}"
    if name == "Drift" and value == 0:
        return "none"
    return f"{value:.2f}" if name in ("Drift", "Expected accuracy") else percent(value)


@dataclass(frozen=True)
class Shown:
    """An image on the page.

    Attributes:
        path: Of its file.
        uri: A data URI.
        said: What the model says of it.
    """

    path: str
    uri: str
    said: str


def _shown(rows: Sequence[Row], request: WatchRequest) -> list[Shown]:
    return [
        Shown(row["path"], data_uri(png, row["path"]), _said(row))
        for row, png in pictures(rows, request.images, request.bundle)
    ]


def _said(row: Row) -> str:
    given = row["labels"] if "labels" in row else [row["label"]]
    strange = f", unfamiliarity {row['unfamiliarity']:.2f}" if row.get("unfamiliarity") is not None else ""
    return f"{', '.join(given) or 'no label'} {row['confidence']:.2f}{strange}"
