"""The result of `label-next`, as `--json` prints it."""

from __future__ import annotations

from pathlib import Path

from darkroom.data.figures import count
from darkroom.data.task import TaskName
from darkroom.flows.results import SelfDescribed
from darkroom.models.labelling.label_page import LABEL_PAGE
from darkroom.models.labelling.next_images import NEXT_CSV, NextImages
from darkroom.models.pages.description import Description, Row


class LabelNextResult(SelfDescribed):
    """Images chosen to be labelled, and the page to label them on."""

    bundle: str
    folder: str
    out: str
    page: str
    table: str
    budget: int
    num_chosen: int
    num_images: int
    num_labelled: int
    num_unusable: int
    num_duplicates: int
    num_uncertain: int
    num_unfamiliar: int
    compared_with: str
    mean_confidence: float | None
    task: TaskName

    @classmethod
    def of(cls, found: NextImages, out: Path) -> LabelNextResult:
        return cls(out=str(out), page=str(out / LABEL_PAGE), table=str(out / NEXT_CSV), **found.model_dump())

    def description(self) -> Description:
        """What was chosen, and what to do with it."""
        labelled = f", {self.num_labelled:,} of them labelled" if self.num_labelled else ""
        unusable = f", {self.num_unusable:,} left out by corrections" if self.num_unusable else ""
        passed = f"; {count(self.num_duplicates, 'near-duplicate')} left out" if self.num_duplicates else ""
        kinds = f"{self.num_uncertain:,} uncertain, {self.num_unfamiliar:,} unfamiliar"
        rows = (
            Row(label="model", text=self.bundle),
            Row(label="images", text=f"{self.num_images:,} in {self.folder}{labelled}{unusable}"),
            Row(label="chosen", text=f"{self.num_chosen:,}: {kinds}{passed}"),
            Row(label="page", text=self.page),
            Row(label="table", text=self.table),
        )
        then = "Open the page, label, save the CSV, then: darkroom ingest SOURCE --corrections CSV"
        return Description(title=f"What to label next in {self.folder}", rows=rows, remarks=(then,))
