"""Tasks of the evaluate flow."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from data.dataset import open_dataset
from models import evaluate
from models.bundle import open_bundle
from models.report import EvaluationReport
from tasks.artifacts import report_artifacts


@task(cache_policy=NO_CACHE)
def evaluate_bundle(bundle: Path, dataset: Path, split: str, generated_by: str) -> EvaluationReport:
    """Judge a bundle on a split, write the report, show metrics and confusion matrix on the run."""
    report = evaluate.evaluate_bundle(open_bundle(bundle), open_dataset(dataset), split, generated_by)
    report_artifacts(report)
    return report
