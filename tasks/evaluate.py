"""Tasks of the evaluate and versus flows."""

from __future__ import annotations

from pathlib import Path

from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle import blessed
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.evaluation import evaluate, versus
from darkroom.models.evaluation.evaluate import EvaluateRequest
from darkroom.models.evaluation.reporting.report import EvaluationReport
from darkroom.models.training import publish
from darkroom.tasks.decorators import run_id, task
from darkroom.tasks.progress import one_step


@task()
def evaluate_bundle(request: EvaluateRequest) -> EvaluationReport:
    """Evaluate a bundle on a split, decide whether it is blessed, and write the report."""
    with one_step("evaluate"):
        return evaluate.evaluate_bundle(request)


@task()
def add_profile(request: EvaluateRequest) -> None:
    """Write the training profile of a bundle that an earlier Darkroom published without one."""
    publish.add_profile(request.bundle, request.dataset)


@task()
def bless_bundle(bundle: Path, report: EvaluationReport, place: Workspace) -> None:
    """Bless a bundle that passed its checks."""
    if report.blessing:
        blessed.bless(bundle, report.blessing, place, run_id())


@task()
def compare_with_table(bundle: Path, table: versus.AnswerTable) -> versus.Versus:
    """Compare a bundle with a table of answers."""
    return versus.versus(open_bundle(bundle), table)
