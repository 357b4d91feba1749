"""The blessing: whether a version of a model is to score, decided by a comparison on the same images.

A new bundle is blessed where it meets the minimum thresholds and is no worse than the blessed one on images that
neither was trained on. docs/evaluation.md says what "no worse" means; `blessed.py` keeps the outcome.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.errors import FormatError, InputError
from darkroom.data.stores.workspace import BUNDLE_CARD, Workspace
from darkroom.models.bundle.blessed import BlessedCard, is_in_workspace, is_whole_version, read_blessed
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.evaluation.blessing_checks import check_minimum_thresholds, check_not_worse
from darkroom.models.evaluation.reporting.report import read_report
from darkroom.models.evaluation.reporting.split_predictions import PREDICTIONS, SplitPredictions
from darkroom.models.evaluation.validation_images import validation_images
from darkroom.models.measures.comparison import Check, Decision
from darkroom.models.multi_label.answers import AnyMetrics
from darkroom.models.onnx.inference import split_logits
from darkroom.models.settings import BlessingRules


def decide(judged: SplitPredictions, metrics: AnyMetrics, rules: BlessingRules, place: Workspace) -> Decision | None:
    """Whether an evaluated bundle is to be blessed; nothing is written.

    Args:
        judged: The bundle's predictions.
        metrics: Measured on them.
        rules: Minimum thresholds and margins.
        place: Where the current bundle and the data sets are.

    Returns:
        None where there is nothing to decide: another split than `test`, or a bundle outside the workspace.
    """
    folder = judged.bundle.folder
    if not _is_decided_on(folder, judged.split, place):
        return None
    card = read_blessed(place, folder.parent.name)
    if card and (settled := _settled(folder, card)):
        return settled
    current = card.current if card else None
    trained_on = training_dataset(judged, place)
    checks = check_minimum_thresholds(metrics, rules, validation_images(trained_on.card) if trained_on else None)
    if not all(check.passed for check in checks):
        return Decision(blessed=False, why=_why_not(checks), current=current, checks=checks)
    if card is None:
        return Decision(blessed=True, why="first version; meets the minimum thresholds", checks=checks)
    if not place.fetch(place.model(card.name, card.current), BUNDLE_CARD).is_dir():
        why = f"meets the minimum thresholds; the blessed version {card.current} no longer exists"
        return Decision(blessed=True, why=why, current=current, checks=checks)
    try:
        rival = open_bundle(place.model(card.name, card.current))
        shared = _shared_rows(judged, rival, place)
        answers, said = judged.bundle.answers, (shared.current, shared.new)
        comparison = answers.compare(rival.answers, said, shared.truth, judged.dataset.labels)
    except InputError as error:
        why = f"cannot be compared with {card.current}: {error}"
        return Decision(blessed=False, why=why, current=current, checks=checks)
    checks += check_not_worse(comparison, rules)
    blessed = all(check.passed for check in checks)
    return Decision(
        blessed=blessed,
        why=f"no worse than {card.current}" if blessed else _why_not(checks),
        current=current,
        compared_by=shared.compared_by,
        num_left_out=len(judged.truth) - len(shared.truth),
        checks=checks,
        comparison=comparison,
    )


def still_stands(decision: Decision | None, bundle: Bundle, split: str, place: Workspace | None) -> bool:
    """Whether `decide` would come to the same decision again, as far as that is known without running a network.

    Args:
        decision: What it decided.
        bundle: The bundle.
        split: The split that it was evaluated on.
        place: Where the current bundle is; None where nothing was to be decided.
    """
    if place is None or not _is_decided_on(bundle.folder, split, place):
        return decision is None
    card = read_blessed(place, bundle.folder.parent.name)
    if card and (settled := _settled(bundle.folder, card)):
        return decision == settled
    if decision is None or decision.blessed or decision.current != (card.current if card else None):
        return False
    if decision.comparison is None:  # not better than the floors, or it could not be compared, which may be mended
        return not all(check.passed for check in decision.checks)
    return card is not None and is_whole_version(place, card.name, card.current)


def _is_decided_on(bundle: Path, split: str, place: Workspace) -> bool:
    return split == "test" and is_in_workspace(bundle, place)


def _settled(bundle: Path, card: BlessedCard) -> Decision | None:
    """What is decided already by what was blessed before; None where the images must decide."""
    if card.current == bundle.name:
        return _decided_before(card)
    if any(event.version == bundle.name for event in card.history):
        why = "was blessed before and has been replaced"
        return Decision(blessed=False, why=why, current=card.current)
    return None


def _decided_before(card: BlessedCard) -> Decision:
    event = card.history[-1]
    said = {"bless": event.why, "promote": f"promoted by hand: {event.why}", "rollback": f"rolled back to: {event.why}"}
    return event.decision or Decision(blessed=True, why=said[event.action], current=event.replaced)


@dataclass(frozen=True)
class _Shared:
    """Both bundles' probabilities `float64[N, C]` of the images that are fair to both, and the truth of these."""

    current: NDArray[np.float64]
    new: NDArray[np.float64]
    truth: NDArray[Any]
    compared_by: Literal["run_again", "stored_predictions"]


def _shared_rows(judged: SplitPredictions, rival: Bundle, place: Workspace) -> _Shared:
    """The images that neither bundle was made with, with what both say of them.

    Raises:
        InputError: where the labels differ, what a bundle was made with cannot be known, or no image is left.
    """
    if rival.card.task != judged.bundle.card.task:
        raise InputError(f"it is a {rival.card.task} model")
    if rival.card.labels != judged.bundle.card.labels:
        raise InputError(f"its labels are {', '.join(rival.card.labels)}")
    used = _used(open_dataset(place.find_dataset(judged.bundle.card.dataset)))
    rivals_dataset = _find_dataset(rival.card.dataset, place)
    if rivals_dataset and rival.card.policy == judged.dataset.card.policy:
        fair = _fair_rows(judged, used | _used(rivals_dataset))
        logits, _ = split_logits(judged.dataset, judged.split, rival.runner())
        current = rival.probabilities(logits[fair], "images evaluated here")
        return _Shared(current, judged.probabilities[fair], judged.truth[fair], "run_again")
    stored = _stored_logits(rival)
    fair = [row for row in _fair_rows(judged, used) if judged.sha256[row] in stored]
    if not fair:
        raise InputError("no image of its own evaluation is among the images evaluated here")
    logits = np.stack([np.asarray(stored[judged.sha256[row]], np.float32) for row in fair])
    current = rival.probabilities(logits, "images evaluated here")
    return _Shared(current, judged.probabilities[fair], judged.truth[fair], "stored_predictions")


def _fair_rows(judged: SplitPredictions, used: Collection[str]) -> list[int]:
    """Positions of the evaluated images that are not in `used`; of duplicate files, the first."""
    copies = _paths_with_used_copies(judged)
    first: dict[str, int] = {}
    for row, (path, sha256) in enumerate(zip(judged.paths, judged.sha256, strict=True)):
        if sha256 not in used and path not in copies:
            first.setdefault(sha256, row)
    if not first:
        raise InputError("the two were trained on all images evaluated here")
    return list(first.values())


def _used(dataset: Dataset) -> frozenset[str]:
    """SHA-256 of the files that a bundle of this data set was trained, stopped or calibrated on."""
    rows = dataset.manifest("sha256", "split").filter(pc.field("split").isin(["train", "validation"]))
    return frozenset(rows["sha256"].to_pylist())


def _paths_with_used_copies(judged: SplitPredictions) -> frozenset[str]:
    """Images of the split of which a near copy was trained on, as `leaks: keep` allows."""
    if judged.dataset.card.duplicate_summary.leaks != "keep":
        return frozenset()
    rows = judged.dataset.duplicates()
    across = rows.filter((pc.field("other_split") == judged.split) & (pc.field("split") != judged.split))
    return frozenset(across["other"].to_pylist())


def training_dataset(judged: SplitPredictions, place: Workspace | None) -> Dataset | None:
    """The data set that an evaluated bundle was trained on, where it is at hand.

    Args:
        judged: The bundle's predictions.
        place: Where data sets are.
    """
    if judged.dataset.reference == judged.bundle.card.dataset:
        return judged.dataset
    return _find_dataset(judged.bundle.card.dataset, place) if place else None


def _find_dataset(reference: str, place: Workspace) -> Dataset | None:
    try:
        return open_dataset(place.find_dataset(reference))
    except InputError:
        return None


def _stored_logits(rival: Bundle) -> dict[str, list[float]]:
    """The logits of a bundle's own evaluation by SHA-256; only where it was on the test images of its own data set."""
    report = read_report(rival.report_folder)
    judged_on = f"{report.dataset.name}@{report.dataset.version}"
    if (judged_on, report.split) != (rival.card.dataset, "test"):
        raise InputError(f"its evaluation was on the {report.split} part of {judged_on}, and its data set is gone")
    try:
        rows = pq.read_table(rival.report_folder / PREDICTIONS, columns=["sha256", "logits"])
    except (OSError, ValueError):
        raise FormatError("its stored predictions cannot be read") from None
    logits = rows["logits"].to_pylist()
    if any(len(row) != len(rival.card.labels) for row in logits):
        raise FormatError("its stored predictions are not of its classes")
    return dict(zip(rows["sha256"].to_pylist(), logits, strict=True))


def _why_not(checks: Collection[Check]) -> str:
    return "; ".join(f"{check.name.lower()}: {check.found}" for check in checks if not check.passed)
