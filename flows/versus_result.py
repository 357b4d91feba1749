"""The result of `versus`, as `--json` prints it, and in words."""

from __future__ import annotations

from darkroom.data.figures import count, fraction, interval, some
from darkroom.data.stores.model_choice import ModelChoice
from darkroom.flows.results import SelfDescribed
from darkroom.models.evaluation.versus import ClassSideBySide, Right, SideBySide, Versus
from darkroom.models.measures.intervals import Interval
from darkroom.models.multi_label.side_by_side import Decisions, Figure, LabelsSideBySide
from darkroom.models.pages.description import Description, Row, Table

_MAX_WORDS = 3


class VersusResult(SelfDescribed):
    """A model compared with external answers; in `overall` and `classes` a missing answer counts as wrong.

    Of a multi-label model, an answer there is right where every label is; `several` is about each label.
    """

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
    several: LabelsSideBySide | None = None
    several_answered: LabelsSideBySide | None = None
    other_words: tuple[str, ...] = ()

    @classmethod
    def of(cls, found: Versus, chosen: ModelChoice) -> VersusResult:
        shared = (
            "bundle", "dataset", "split", "table", "num_unanswered", "num_unknown_rows", "rows", "several",
            "several_answered", "other_words",
        )  # fmt: skip
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

    def description(self) -> Description:
        """Who is right, and by how much."""
        overall, num_missing, num_unknown = self.overall, self.num_unanswered, self.num_unknown_rows
        wrong = "counts as wrong" if num_missing == 1 else "count as wrong"
        missing = f"; {count(num_missing, 'image')} without an answer {wrong}"
        unknown = f"; {count(num_unknown, 'row')} {'matches' if num_unknown == 1 else 'match'} no image"
        what = "" if self.several is None else "every label right "
        alone = f"{self.num_only_model:,} right by the model only, {self.num_only_table:,} by the table only"
        rows = [
            ("model", f"{what}{_share(overall.model)}: {self.bundle}, {self.chosen.reason}"),
            ("evaluated", f"{count(overall.model.num_images, f'{self.split} image')} of {self.dataset}"),
            ("table", f"{what}{_share(overall.table)}: {self.table}{missing * bool(num_missing)}"
             f"{unknown * bool(num_unknown)}"),
            ("difference", f"{alone}; McNemar p = {self.p_value:.2g}"),
        ]  # fmt: skip
        if num_missing:
            shares = f"model {what}{_share(self.answered.model)}, table {_share(self.answered.table)}"
            rows.append(("answered", f"{count(self.answered.model.num_images, 'image')}: {shares}"))
        if self.several:
            rows += _figures(self.several, "")
        if self.several_answered and num_missing:
            rows += _figures(self.several_answered, ", answered")
        table = self._by_class() if self.several is None else _by_label(self.several)
        words = some(self.other_words, _MAX_WORDS)
        remark = f"Words of the table that are no labels: {words}. Say what they mean with --means WORD=LABEL."
        return Description(
            title=f"{self.bundle} against {self.table}",
            rows=tuple(Row(label=label, text=text) for label, text in [*rows, ("rows", self.rows)]),
            remarks=(remark,) if self.other_words else (),
            tables=(table,),
        )

    def _by_class(self) -> Table:
        sides = [("all", self.overall), ("all with an answer", self.answered)]
        return Table(
            title="Images and correct answers, by class",
            columns=("class", "images", "model", "table"),
            cells=tuple(
                (name, f"{side.model.num_images:,}", f"{side.model.num_correct:,}", f"{side.table.num_correct:,}")
                for name, side in (*sides, *((each.label, each) for each in self.classes))
            ),
        )


def _figures(several: LabelsSideBySide, where: str) -> list[tuple[str, str]]:
    """The figures of all labels, of the model and of the table."""
    named = (("macro F1", several.macro_f1), ("micro F1", several.micro_f1), ("decisions", several.decisions))
    return [(f"{name}{where}", _figure(each)) for name, each in named]


def _figure(found: Figure) -> str:
    difference = f"; difference {found.model - found.table:+.4f}{_bounds(found.difference)}"
    return (
        f"model {fraction(found.model)}{_bounds(found.model_interval)}, table {fraction(found.table)}"
        f"{_bounds(found.table_interval)}{difference}"
    )


def _by_label(several: LabelsSideBySide) -> Table:
    return Table(
        title="F1, precision and recall, by label",
        columns=("label", "images", "model", "table", "p"),
        cells=tuple(
            (each.label, f"{each.num_images:,}", _decisions(each.model), _decisions(each.table), f"{each.p_value:.2g}")
            for each in several.labels
        ),
    )


def _decisions(found: Decisions) -> str:
    return " / ".join("–" if value is None else f"{value:.3f}" for value in (found.f1, found.precision, found.recall))


def _bounds(bounds: Interval | None) -> str:
    return "" if bounds is None else f" ({interval(bounds.low, bounds.high)})"


def _share(right: Right) -> str:
    return f"{fraction(right.num_correct / right.num_images)}{_bounds(right.interval)}"
