"""The results of flows, as `--json` prints them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from darkroom.data.dataset.dataset import DatasetCard, ReasonCount
from darkroom.data.dataset.duplicate_summary import DuplicateSummary
from darkroom.data.sources.resolve import Source
from darkroom.data.splits.splits import SPLITS
from darkroom.data.stores.model_choice import ModelChoice
from darkroom.data.stores.named_files import NamedFiles
from darkroom.data.stores.workspace import INSPECTION_CARD, Workspace
from darkroom.flows.watch_result import WatchResult
from darkroom.models.bundle.blessed import BlessedCard
from darkroom.models.bundle.bundle import BundleCard
from darkroom.models.evaluation.reporting.report import EvaluatedOn, EvaluationReport
from darkroom.models.experiments.experiment import ExperimentCard, HeldOutFigures, TrialRow, ranked
from darkroom.models.inspecting.inspection import Inspection
from darkroom.models.pages.description import Description
from darkroom.models.pages.navigation import DATASET_PAGE, EXPERIMENT_PAGE
from darkroom.models.scoring.summary import NamedCount, ScoreSummary

if TYPE_CHECKING:
    from darkroom.data.stores.folders import Images
    from darkroom.flows.recipe import Recipe
    from darkroom.models.explaining.explain import Explained  # which draws, and loads matplotlib


class Result(BaseModel):
    """A flow's result: plain values only."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SelfDescribed(Result):
    """A result that stands in a file of its own, with its words."""

    def description(self) -> Description:
        """The result in words."""
        raise NotImplementedError


class SplitSize(Result):
    """Images in a split."""

    split: str
    num_images: int


class IngestResult(Result):
    """A data set."""

    dataset: str
    folder: str
    source_folder: str
    new_images: str | None
    labels: tuple[str, ...]
    num_files: int
    num_ok: int
    splits: tuple[SplitSize, ...]
    quarantined: tuple[ReasonCount, ...]
    decisions: tuple[str, ...]
    duplicates: DuplicateSummary
    page: str
    num_known: int
    reused: bool

    @classmethod
    def of(cls, card: DatasetCard, folder: Path, source: Source, reused: bool, num_known: int) -> IngestResult:
        return cls(
            dataset=f"{card.name}@{card.version}",
            folder=str(folder),
            source_folder=str(source.folder),
            new_images=str(source.new_images) if source.new_images else None,
            labels=card.labels,
            num_files=card.num_files,
            num_ok=card.num_ok,
            splits=tuple(SplitSize(split=split, num_images=card.num_images(split)) for split in SPLITS),
            quarantined=card.reasons,
            decisions=card.decisions,
            duplicates=card.duplicate_summary,
            page=str(folder / DATASET_PAGE),
            num_known=num_known,
            reused=reused,
        )


class FoundCount(Result):
    """Outliers of one kind."""

    name: str
    num_images: int


class InspectResult(Result):
    """A source before ingest; `num_suspected` is None if labels were not checked."""

    source: str
    page: str
    inspection: str
    num_files: int
    num_ok: int
    num_classes: int
    quarantined: tuple[ReasonCount, ...]
    outliers: tuple[FoundCount, ...]
    num_exact_duplicates: int
    num_near_duplicates: int
    num_leaked: int
    num_judged: int
    num_suspected: int | None
    remarks: tuple[str, ...]
    reused: bool

    @classmethod
    def of(cls, inspection: Inspection, folder: Path, reused: bool) -> InspectResult:
        quality, errors, copies = inspection.quality, inspection.label_errors, inspection.duplicates
        return cls(
            source=inspection.source,
            page=str(folder / DATASET_PAGE),
            inspection=str(folder / INSPECTION_CARD),
            num_files=quality.num_files,
            num_ok=quality.num_ok,
            num_classes=len(quality.classes),
            quarantined=quality.reasons,
            outliers=tuple(FoundCount(name=check.name, num_images=check.num_images) for check in quality.checks),
            num_exact_duplicates=copies.num_exact,
            num_near_duplicates=copies.num_near,
            num_leaked=copies.num_leaked,
            num_judged=errors.num_images if errors else 0,
            num_suspected=errors.num_suspected if errors else None,
            remarks=quality.remarks,
            reused=reused,
        )


class TrainResult(Result):
    """A bundle; `int8_same_label` is None if it has no int8 network, `int8_refused` if scoring uses it."""

    bundle: str
    folder: str
    dataset: str
    model: str
    num_epochs: int
    best_epoch: int
    train_seconds: float
    validation_accuracy: float
    int8_same_label: float | None
    int8_refused: str | None
    reused: bool

    @classmethod
    def of(cls, card: BundleCard, folder: Path, reused: bool) -> TrainResult:
        return cls(
            bundle=f"{card.name}@{card.version}",
            folder=str(folder),
            dataset=card.dataset,
            model=card.settings.model,
            num_epochs=len(card.history),
            best_epoch=card.best_epoch,
            train_seconds=card.train_seconds,
            validation_accuracy=card.validation_accuracy,
            int8_same_label=card.int8.gate.same_label if card.int8.gate else None,
            int8_refused=card.int8.refused,
            reused=reused,
        )


class CompareResult(Result):
    """An experiment: its trials, best first, and the bundle of the best one."""

    experiment: str
    folder: str
    page: str
    trials: tuple[TrialRow, ...]
    num_combinations: int
    best: TrialRow
    bundle: str
    test: HeldOutFigures | None
    reused: bool

    @classmethod
    def of(cls, card: ExperimentCard, folder: Path, reused: bool) -> CompareResult:
        return cls(
            experiment=f"{card.name}-{card.version}",
            folder=str(folder),
            page=str(folder / EXPERIMENT_PAGE),
            trials=tuple(ranked(card.trials)),
            num_combinations=card.num_combinations,
            best=card.best_row,
            bundle=card.bundle,
            test=card.test,
            reused=reused,
        )


class EvaluateResult(Result):
    """An evaluation; `blessed` and its reason are None if undecided, `mean_average_precision` of one label."""

    bundle: str
    chosen: ModelChoice
    dataset: str
    split: str
    num_images: int
    num_correct: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    macro_f1: float
    mean_average_precision: float | None = None
    calibration_error: float
    num_weak_slices: int
    blessed: bool | None
    blessing: str | None
    report: str
    reused: bool

    @classmethod
    def of(cls, report: EvaluationReport, page: Path, chosen: ModelChoice, reused: bool) -> EvaluateResult:
        metrics = report.metrics
        return cls(
            bundle=f"{report.bundle.name}@{report.bundle.version}",
            chosen=chosen,
            dataset=f"{report.dataset.name}@{report.dataset.version}",
            split=report.split,
            num_images=metrics.num_images,
            num_correct=metrics.num_correct,
            accuracy=metrics.accuracy,
            accuracy_low=metrics.accuracy_interval.low,
            accuracy_high=metrics.accuracy_interval.high,
            macro_f1=metrics.macro_f1,
            mean_average_precision=getattr(metrics, "mean_average_precision", None),
            calibration_error=metrics.expected_calibration_error,
            num_weak_slices=sum(item.is_weak for item in report.slices),
            blessed=report.blessing.blessed if report.blessing else None,
            blessing=report.blessing.why if report.blessing else None,
            report=str(page),
            reused=reused,
        )


class BlessingResult(Result):
    """The blessed version of a model, and the one that it replaces; `already` where nothing had to change.

    `evaluated` is None if it was never evaluated on test images.
    """

    name: str
    blessed: str
    replaced: str | None
    why: str
    evaluated: EvaluatedOn | None
    already: bool
    folder: str

    @classmethod
    def of(
        cls, card: BlessedCard, place: Workspace, report: EvaluationReport | None, already: bool = False
    ) -> BlessingResult:
        event = card.history[-1]
        return cls(
            name=card.name,
            blessed=card.current,
            replaced=event.replaced,
            why=event.why,
            evaluated=EvaluatedOn.of(report) if report else None,
            already=already,
            folder=str(place.model(card.name, card.current)),
        )


class ExportResult(Result):
    """A prediction table in another form; `num_rows` counts rows of a file, or images in folders."""

    table: str
    bundle: str
    format: Literal["csv", "jsonl", "submission", "folders"]
    out: str
    num_rows: int
    remarks: tuple[str, ...]


class ExplainResult(Result):
    """Pictures that show what a network looks at."""

    bundle: str
    chosen: ModelChoice
    folder: str
    page: str
    pictures: tuple[str, ...]
    quarantined: tuple[ReasonCount, ...] = ()
    reused: bool

    @classmethod
    def of(cls, done: Explained, bundle: str, chosen: ModelChoice) -> ExplainResult:
        reasons = Counter(reason for _, reason in done.quarantined)
        return cls(
            bundle=bundle,
            chosen=chosen,
            folder=str(done.page.parent),
            page=str(done.page),
            pictures=tuple(str(picture) for picture in done.pictures),
            quarantined=tuple(ReasonCount(reason=reason, num_files=reasons[reason]) for reason in sorted(reasons)),
            reused=done.reused,
        )


class ScoreResult(Result):
    """A prediction table; `images_per_second` is None where all rows were there before.

    Where files were named (`listed`), `folder` is the one they have in common; `num_repeated` were named again.
    """

    bundle: str
    chosen: ModelChoice | None
    precision: Literal["fp32", "int8", "service"]
    folder: str
    out: str
    num_files: int
    statuses: tuple[NamedCount, ...]
    labels: tuple[NamedCount, ...]
    reasons: tuple[NamedCount, ...]
    num_abstained: int
    num_unfamiliar: int | None = None
    num_parts: int
    rows_reused: int
    seconds: float
    images_per_second: float | None
    remarks: tuple[str, ...] = ()
    listed: bool = False
    num_repeated: int = 0
    exported: str | None = None
    watched: WatchResult | None = None

    @classmethod
    def of(cls, summary: ScoreSummary, out: str, images: Images, exported: str | None) -> ScoreResult:
        own = ("out", "num_parts", "num_repeated", "exported", "watched")
        values = {name: getattr(summary, name) for name in cls.model_fields if name not in own}
        repeated = images.num_repeated if isinstance(images, NamedFiles) else 0
        return cls(out=out, num_parts=len(summary.parts), num_repeated=repeated, exported=exported, **values)


class Target(Result):
    """A recipe's target on its test images, the value reached, and what public tutorials reach."""

    figure: str
    target: float
    value: float
    reached: bool
    public: str


class RunResult(Result):
    """The results of all steps of a run."""

    ingest: IngestResult
    train: TrainResult
    evaluate: EvaluateResult
    explain: ExplainResult
    score: ScoreResult
    targets: tuple[Target, ...] = ()


def targets_of(plan: Recipe, report: EvaluateResult) -> tuple[Target, ...]:
    """The figures that a recipe names, and whether they were reached."""
    wanted = (
        ("accuracy", plan.target_accuracy, report.accuracy, plan.public),
        ("macro F1", plan.target_macro_f1, report.macro_f1, ""),
    )
    return tuple(
        Target(figure=figure, target=target, value=value, reached=value >= target, public=public)
        for figure, target, value, public in wanted
        if target is not None
    )
