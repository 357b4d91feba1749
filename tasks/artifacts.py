"""What a run shows in the Prefect UI: counts, metrics, the confusion matrix, a scoring summary."""

from __future__ import annotations

import re
from typing import Any

from darkroom.data.dataset.dataset import DatasetCard
from darkroom.data.dataset.splits import SPLITS
from darkroom.models.bundle.bundle import BundleCard
from darkroom.models.evaluation.report import EvaluationReport, headline
from darkroom.models.evaluation.versus import Versus
from darkroom.models.measures.comparison import Decision, Pairs
from darkroom.models.pages.markdown import table, text
from darkroom.models.scoring.summary import ScoreSummary
from darkroom.tasks.decorators import is_plain


def key_of(*parts: str) -> str:
    """An artifact key: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def show_text(markdown: str, key: str, description: str) -> None:
    """Show a page of Markdown on the run; nothing in a plain one."""
    if not is_plain():
        from prefect.artifacts import create_markdown_artifact

        create_markdown_artifact(markdown, key=key, description=description)


def show_table(rows: list[dict[str, Any]], key: str, description: str) -> None:
    """Show a table on the run; nothing in a plain one."""
    if not is_plain():
        from prefect.artifacts import create_table_artifact

        create_table_artifact(rows, key=key, description=description)


def show_progress(percent: float, key: str, description: str) -> None:
    """Show how much is done on the run; nothing in a plain one."""
    if not is_plain():
        from prefect.artifacts import create_progress_artifact

        create_progress_artifact(percent, key=key, description=description)


def dataset_artifact(card: DatasetCard) -> None:
    """Counts by class and split, and what was quarantined."""
    lines = [f"# Data set {text(card.name)}@{card.version}", ""]
    lines += [f"{card.num_files} files: {card.num_ok} used, {card.num_files - card.num_ok} quarantined.", ""]
    lines += [f"- {text(decision)}" for decision in card.decisions]
    rows = [[label, *(_count(card, split, label) for split in SPLITS)] for label in card.labels]
    lines += ["", *table(["class", *SPLITS], rows)]
    copies = card.duplicate_summary
    lines += ["", f"Duplicate pairs: {copies.num_exact} exact, {copies.num_near} near."]
    lines += [f"Images that duplicate a held-out image: {copies.num_leaked}."]
    if card.reasons:
        lines += ["", *table(["quarantined as", "files"], [[r.reason, str(r.num_files)] for r in card.reasons])]
    show_text("\n".join(lines), key=key_of("dataset", card.name), description="Images by class and split")


def training_artifact(card: BundleCard) -> None:
    """The epochs of a training."""
    rows = [log.model_dump() for log in card.history]
    show_table(rows, key=key_of("training", card.name), description=f"Epochs of {card.name}@{card.version}")


def report_artifacts(report: EvaluationReport) -> None:
    """Headline, per-class table and confusion matrix."""
    metrics = report.metrics
    name = f"{report.bundle.name}@{report.bundle.version}"
    lines = [f"# {text(name)} on the {report.split} split of {text(report.dataset.name)}", "", headline(metrics), ""]
    rows = [
        [c.label, _figure(c.precision), _figure(c.recall), _figure(c.f1), str(c.support)] for c in metrics.per_class
    ]
    lines += table(["class", "precision", "recall", "F1", "images"], rows)
    lines += [
        "",
        f"Macro F1 {metrics.macro_f1:.3f}; expected calibration error {metrics.expected_calibration_error:.3f}.",
    ]
    show_text("\n".join(lines), key=key_of("metrics", report.bundle.name), description="Evaluation metrics")
    labels = [c.label for c in metrics.per_class]
    matrix = [
        {"truth": label, **dict(zip(labels, row, strict=True))}
        for label, row in zip(labels, metrics.confusion_matrix, strict=True)
    ]
    show_table(
        matrix, key=key_of("confusion", report.bundle.name), description="Confusion matrix: rows are true classes"
    )


def blessing_artifact(name: str, decision: Decision) -> None:
    """Whether a bundle is blessed, why, and what was checked."""
    lines = [f"# {text(name)} is {'blessed' if decision.blessed else 'not blessed'}", "", f"{text(decision.why)}.", ""]
    checks = [[check.name, "yes" if check.passed else "no", check.found] for check in decision.checks]
    lines += table(["check", "passed", "result"], checks) if checks else []
    show_text("\n".join(lines), key=key_of("blessing", name.partition("@")[0]), description="Approved for scoring?")


def versus_artifact(found: Versus) -> None:
    """A bundle compared with a table of answers, by class."""
    pairs = found.overall
    lines = [f"# {text(found.bundle)} against {text(found.table)}", ""]
    lines += [f"{pairs.num_images} {found.split} images of {text(found.dataset)}; McNemar p = {pairs.p_value:.2g}."]
    lines += [f"The table has answers for {found.answered.num_images} of them; a missing answer counts as wrong.", ""]
    rows = [["all", *_both_right(pairs)], ["all with an answer", *_both_right(found.answered)]]
    rows += [[each.label, *_both_right(each)] for each in found.classes]
    lines += table(["", "images", "model correct", "table correct"], rows)
    key = key_of("versus", found.bundle.partition("@")[0])
    show_text("\n".join(lines), key=key, description="Model against an external table of answers")


def _both_right(pairs: Pairs) -> list[str]:
    return [str(count) for count in (pairs.num_images, pairs.num_new_correct, pairs.num_current_correct)]


def score_artifact(summary: ScoreSummary, out: str) -> None:
    """Counts of a prediction table."""
    lines = [f"# {summary.num_files} files scored by {text(summary.bundle)}", "", f"Table: `{text(out)}`", ""]
    for title, counts in (("status", summary.statuses), ("label", summary.labels), ("reason", summary.reasons)):
        if counts:
            lines += [*table([title, "rows"], [[count.name, str(count.num_rows)] for count in counts]), ""]
    lines += [f"{summary.seconds:.1f} s, {summary.images_per_second:.0f} images/s."]
    show_text("\n".join(lines), key="scoring", description="Prediction table")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _count(card: DatasetCard, split: str, label: str) -> str:
    return str(sum(count.num_images for count in card.counts if (count.split, count.label) == (split, label)))
