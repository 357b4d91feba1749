"""Tasks of the evaluate and versus flows."""

from __future__ import annotations

from pathlib import Path

from darkroom.data.dataset.dataset import open_dataset
from darkroom.data.settings import DecoderMismatch
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle import blessed
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.evaluation import evaluate, versus
from darkroom.models.evaluation.report import EvaluationReport
from darkroom.models.settings import BlessingRules
from darkroom.tasks.artifacts import blessing_artifact, report_artifacts, versus_artifact
from darkroom.tasks.decorators import run_id, task


@task()
def evaluate_bundle(
    bundle: Path,
    dataset: Path,
    split: str,
    rules: BlessingRules,
    place: Workspace,
    generated_by: str,
    decoder_mismatch: DecoderMismatch = "warn",
) -> EvaluationReport:
    """Evaluate a bundle on a split, decide whether it is blessed, write the report, show metrics on the run."""
    opened = open_bundle(bundle)
    report = evaluate.evaluate_bundle(
        opened, open_dataset(dataset), split, generated_by, place, rules, decoder_mismatch
    )
    report_artifacts(report)
    return report


@task()
def bless_bundle(bundle: Path, report: EvaluationReport, place: Workspace) -> None:
    """Bless a bundle that passed its checks, and show the decision on the run."""
    if report.blessing:
        blessed.bless(bundle, report.blessing, place, run_id())
        blessing_artifact(f"{report.bundle.name}@{report.bundle.version}", report.blessing)


@task()
def compare_with_table(
    bundle: Path, table: Path, means: dict[str, str], path_column: str | None, label_column: str | None
) -> versus.Versus:
    """Compare a bundle with a table of answers, and show both on the run."""
    found = versus.versus(open_bundle(bundle), table, means, path_column, label_column)
    versus_artifact(found)
    return found
