"""The result of `export-model`, as `--json` prints it."""

from __future__ import annotations

from pathlib import Path

from darkroom.data.figures import count
from darkroom.data.stores.model_choice import ModelChoice
from darkroom.flows.results import SelfDescribed
from darkroom.models.exporting.card import ExportCard
from darkroom.models.exporting.export import README
from darkroom.models.exporting.forms import FormName
from darkroom.models.pages.description import Description, Row


class ModelExportResult(SelfDescribed):
    """A model in the form of another runtime; `checked_on` is None where it was checked on generated images."""

    bundle: str
    chosen: ModelChoice
    to: FormName
    out: str
    files: tuple[str, ...]
    num_bytes: int
    checked_on: str | None
    num_checked: int
    max_difference: float
    max_difference_of_files: float | None
    num_other_answers: int
    reused: bool

    @classmethod
    def of(cls, card: ExportCard, out: Path, chosen: ModelChoice, reused: bool) -> ModelExportResult:
        shared = ("checked_on", "num_checked", "max_difference", "max_difference_of_files", "num_other_answers")
        return cls(
            bundle=card.model,
            chosen=chosen,
            to=card.form,
            out=str(out),
            files=tuple(fact.file for fact in card.files),
            num_bytes=sum(fact.bytes for fact in card.files),
            reused=reused,
            **{name: getattr(card, name) for name in shared},
        )

    def description(self) -> Description:
        """What was written, and how far it is from the model."""
        images = f"validation images of {self.checked_on}" if self.checked_on else "generated images"
        ties = f"; {count(self.num_other_answers, 'tie')} decided otherwise" if self.num_other_answers else ""
        files = "" if self.max_difference_of_files is None else f", of files by {self.max_difference_of_files:.1e}"
        worst = f"probabilities differ by at most {self.max_difference:.1e}{files}{ties}"
        rows = (
            Row(label="model", text=f"{self.bundle}, {self.chosen.reason}"),
            Row(label="exported", text=f"{self.to}, {self.num_bytes / 1e6:.1f} MB{', up to date' * self.reused}"),
            Row(label="checked", text=f"on {self.num_checked:,} {images}: {worst}"),
            Row(label="folder", text=self.out),
            Row(label="how to use", text=str(Path(self.out) / README)),
        )
        return Description(title=f"{self.bundle} as {self.to}", rows=rows)
