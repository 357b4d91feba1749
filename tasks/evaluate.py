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
from darkroom.tasks.decorators import run_id, task
from darkroom.tasks.progress import one_step


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
    """Evaluate a bundle on a split, decide whether it is blessed, and write the report."""
    opened = open_bundle(bundle)
    with one_step("evaluate"):
        return evaluate.evaluate_bundle(
            opened, open_dataset(dataset), split, generated_by, place, rules, decoder_mismatch
        )


@task()
def bless_bundle(bundle: Path, report: EvaluationReport, place: Workspace) -> None:
    """Bless a bundle that passed its checks."""
    if report.blessing:
        blessed.bless(bundle, report.blessing, place, run_id())


@task()
def compare_with_table(
    bundle: Path, table: Path, means: dict[str, str], path_column: str | None, label_column: str | None
) -> versus.Versus:
    """Compare a bundle with a table of answers."""
    return versus.versus(open_bundle(bundle), table, means, path_column, label_column)
