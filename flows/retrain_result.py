"""The result of `retrain`, as `--json` prints it, and in words."""

from __future__ import annotations

from darkroom.flows.descriptions import describe
from darkroom.flows.results import EvaluateResult, IngestResult, SelfDescribed, TrainResult
from darkroom.models.pages.description import Description, Row


class RetrainResult(SelfDescribed):
    """A retraining: its steps, and which version was in use before and is now; None where none is."""

    ingest: IngestResult
    train: TrainResult
    evaluate: EvaluateResult
    before: str | None
    now: str | None

    def description(self) -> Description:
        """Whether another version is in use, and what was done for it."""
        steps = [describe(step) for step in (self.ingest, self.train, self.evaluate)]
        said = "no version" if self.now is None else self.now
        if self.now == self.before:
            state = f"{said}, unchanged"
        else:
            state = f"{said}, replaces {self.before}" if self.before else f"{said}, the first version approved"
        told = {"in use", "folder", "trained on"}
        rows = [Row(label="in use", text=state)]
        for step in steps:
            rows += [row for row in step.rows if row.label not in told]
            told |= {"model"} if step is steps[1] else set()
        remarks = tuple(remark for step in steps for remark in step.remarks)
        return Description(title=f"Retraining of {self.train.bundle}", rows=tuple(rows), remarks=remarks)
