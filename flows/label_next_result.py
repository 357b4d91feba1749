"""The result of `label-next`, as `--json` prints it."""

from __future__ import annotations

from pathlib import Path

from darkroom.data.figures import count
from darkroom.flows.results import Result
from darkroom.models.labelling.label_page import LABEL_PAGE
from darkroom.models.labelling.next_images import NEXT_CSV, NextImages


class LabelNextResult(Result):
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
    num_duplicates: int
    num_uncertain: int
    num_unfamiliar: int
    compared_with: str
    mean_confidence: float | None

    @classmethod
    def of(cls, found: NextImages, out: Path) -> LabelNextResult:
        return cls(out=str(out), page=str(out / LABEL_PAGE), table=str(out / NEXT_CSV), **found.model_dump())

    def rows(self) -> list[tuple[str, str]]:
        """The result in words, each line with what it is about."""
        labelled = f", {self.num_labelled:,} of them labelled" if self.num_labelled else ""
        passed = f"; {count(self.num_duplicates, 'near-duplicate')} left out" if self.num_duplicates else ""
        kinds = f"{self.num_uncertain:,} uncertain, {self.num_unfamiliar:,} unfamiliar"
        return [
            ("model", self.bundle),
            ("images", f"{self.num_images:,} in {self.folder}{labelled}"),
            ("chosen", f"{self.num_chosen:,}: {kinds}{passed}"),
            ("page", self.page),
            ("table", self.table),
        ]
