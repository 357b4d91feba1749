"""A finished run watched: compared with training and the last runs, its line added to the history, its page written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq

from darkroom.data.errors import FormatError
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.prediction_table.inbox_table import MODEL, night_parts
from darkroom.models.profile.profile import Profile, read_profile
from darkroom.models.watching.drift import Drift, Reference, drift
from darkroom.models.watching.expected_accuracy import ExpectedAccuracy, expected_accuracy
from darkroom.models.watching.history import (
    MAX_LINES,
    Kept,
    WatchHistory,
    WatchLine,
    line_again,
    read_history,
    write_history,
)
from darkroom.models.watching.limits import Breach, breaches
from darkroom.models.watching.observed import Observed
from darkroom.models.watching.request import WatchRequest
from darkroom.models.watching.run_images import NUM_READ, Tally, read_sample, tally
from darkroom.models.watching.watch_page import write_watch_page


@dataclass(frozen=True)
class Watched:
    """What came of it.

    Attributes:
        line: The run's.
        history: All lines, that one among them.
        page: The page, a path or a URL.
    """

    line: WatchLine
    history: WatchHistory
    page: str

    @property
    def failed(self) -> Breach | None:
        """The first limit that fails the run; None where none does."""
        return next((breach for breach in self.line.breaches if breach.then == "fail"), None)


def watch(request: WatchRequest) -> Watched:
    """Compare a run with training and the last runs, and write its line and the page beside the table.

    Args:
        request: The run; the caller holds the lock of the table's work folder.
    """
    table, bundle = request.table, request.bundle
    found = tally(request.parts)
    profile = _profile(bundle)
    history = _history(request)
    run = _observed(found, request, profile) if found.drawn else Observed()
    line = WatchLine(
        started_at=request.started_at,
        model=bundle.reference,
        run_id=request.run_id,
        num_new=found.num_rows,
        reasons=dict(sorted(found.reasons.items())),
        num_abstained=found.num_abstained,
        num_unfamiliar=found.num_unfamiliar,
        drift=_drift(run, profile, history.usual(bundle.reference), bundle) if found.drawn else None,
        expected_accuracy=_expected(run, profile, bundle) if found.drawn else None,
        images_per_second=request.images_per_second,
        kept=Kept.of(run),
    )
    line = line.model_copy(update={"breaches": breaches(request.limits, line.figures)})
    history = history.with_line(line)
    write_history(table.paths.watch, history, table.paths.work)
    write_watch_page(request, history, line, found)
    for path in (table.paths.watch, table.paths.watch_page):
        table.share_beside(path)
    return Watched(line, history, table.reference_of(table.paths.watch_page))


def watched_before(request: WatchRequest, num_files: int) -> Watched | None:
    """What came of an earlier run that left the table as it is, by the limits of now; None where there was none.

    Args:
        request: The run, which had nothing to do.
        num_files: Rows of the table.
    """
    paths = request.table.paths
    history = read_history(paths.watch)
    lines = history.of_model(request.bundle.reference) if history else ()
    if not history or not lines or lines[-1].num_new != num_files or not paths.watch_page.is_file():
        return None
    line = lines[-1].model_copy(update={"breaches": breaches(request.limits, lines[-1].figures)})
    return Watched(line, history, request.table.reference_of(paths.watch_page))


def _history(request: WatchRequest) -> WatchHistory:
    """The history of the table; runs of an inbox without a line, since they were killed or it was lost, get one."""
    table = request.table
    if table.mirror and not table.paths.watch.is_file():
        table.mirror.pull_one(table.mirror.name_of(table.paths.watch))
    history = read_history(table.paths.watch) or WatchHistory()
    runs: dict[tuple[datetime, str], list[Path]] = {}
    parts = [path for path in night_parts(table.folder).values() if path not in request.parts]
    nights = sorted({path.parent.name for path in parts})[-MAX_LINES:]
    for path in (path for path in parts if path.parent.name in nights):
        (first,) = pq.read_table(path, columns=["scored_at", MODEL], partitioning=None).slice(0, 1).to_pylist()
        key = first["scored_at"].replace(microsecond=0), first[MODEL]
        if not history.has(*key):
            runs.setdefault(key, []).append(path)
    for key in sorted(runs):
        found = tally(runs[key])
        line = line_again(key, found.reasons, found.observed(), found.num_abstained)
        history = history.with_line(line.model_copy(update={"num_new": found.num_rows}))
    return history


def _profile(bundle: Bundle) -> Profile | None:
    try:
        return read_profile(bundle.folder)
    except FormatError:
        return None  # scoring has said so


def _observed(found: Tally, request: WatchRequest, profile: Profile | None) -> Observed:
    """The images of a run; what the table does not tell is of those that were read again."""
    seen = found.observed()
    sample = read_sample(found.drawn[:NUM_READ], request.images, request.bundle)
    counts = {name: sample.formats.count(name) for name in sorted(set(sample.formats))}
    if profile and profile.familiarity and len(sample.embeddings) and not len(seen.unfamiliarity):
        seen = replace(seen, unfamiliarity=profile.unfamiliarity(sample.embeddings, "fp32"))  # a table without them
    return replace(seen, formats=counts, brightness=sample.brightness, embeddings=sample.embeddings)


def _training(profile: Profile, bundle: Bundle) -> Observed:
    card, samples = profile.card, profile.samples
    one_label = len(samples.predicted) > 0
    return Observed(
        labels={each.name: each.num_images for each in card.predicted} if one_label else {},
        confidences=samples.confidences,
        predicted=tuple(bundle.card.labels[place] for place in samples.predicted),
        unfamiliarity=samples.unfamiliarity,
        widths=samples.widths.astype(float),
        heights=samples.heights.astype(float),
        formats={each.name: each.num_images for each in card.formats},
        brightness=samples.brightness,
        embeddings=samples.embeddings,
    )


def _drift(run: Observed, profile: Profile | None, usual: Observed, bundle: Bundle) -> Drift | None:
    references: dict[Reference, Observed] = {}
    if profile is not None:
        references["training"] = _training(profile, bundle)
    if len(usual.confidences):
        references["last runs"] = usual
    return drift(run, references) if references else None


def _expected(run: Observed, profile: Profile | None, bundle: Bundle) -> ExpectedAccuracy:
    if profile is None:
        return ExpectedAccuracy(withheld="the model has no training profile")
    return expected_accuracy(run, _training(profile, bundle), profile.samples.right)
