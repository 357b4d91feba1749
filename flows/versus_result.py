"""The result of `versus`, as `--json` prints it."""

from __future__ import annotations

from darkroom.data.stores.model_choice import ModelChoice
from darkroom.flows.results import Result
from darkroom.models.evaluation.versus import ClassSideBySide, SideBySide, Versus


class VersusResult(Result):
    """A model compared with external answers; in `overall` and `classes` a missing answer counts as wrong."""

    bundle: str
    chosen: ModelChoice
    dataset: str
    split: str
    table: str
    overall: SideBySide
    answered: SideBySide
    classes: tuple[ClassSideBySide, ...]
    num_only_model: int
    num_only_table: int
    p_value: float
    num_unanswered: int
    num_unknown_rows: int
    rows: str

    @classmethod
    def of(cls, found: Versus, chosen: ModelChoice) -> VersusResult:
        shared = ("bundle", "dataset", "split", "table", "num_unanswered", "num_unknown_rows", "rows")
        return cls(
            chosen=chosen,
            overall=SideBySide.of(found.overall),
            answered=SideBySide.of(found.answered),
            classes=tuple(ClassSideBySide.of_class(pairs) for pairs in found.classes),
            num_only_model=found.overall.num_only_new,
            num_only_table=found.overall.num_only_current,
            p_value=found.overall.p_value,
            **{name: getattr(found, name) for name in shared},
        )
