"""Two answers to the same images, where an image may have several labels: a model's, and those of somebody else.

A table of answers has no probabilities, so that only what is given counts: F1, precision, recall and decisions. The
intervals are of the bootstrap over the images, the same resamples for both; a label's p-value is McNemar's, over the
images on which only one of the two decides rightly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from darkroom.data.labels.label_map import LabelMap
from darkroom.models.measures.comparison import mcnemar
from darkroom.models.measures.intervals import Frozen, Interval
from darkroom.models.measures.resampling import interval_of, resamples
from darkroom.models.multi_label.checks import Flags, Floats
from darkroom.models.multi_label.intervals import macro_f1_of, micro_f1_of

Measure = Callable[[Floats, Flags, Flags], Floats]


class Figure(Frozen):
    """One figure of both.

    Attributes:
        model, table: The figure of each.
        model_interval, table_interval: 95 % bootstrap intervals; None where all resamples give the same.
        difference: 95 % bootstrap interval of the model's less the table's, on the same resamples; None as above.
    """

    model: float
    table: float
    model_interval: Interval | None
    table_interval: Interval | None
    difference: Interval | None


class Decisions(Frozen):
    """What one of the two decides of a label.

    Attributes:
        num_given: Images that are given the label.
        num_hits: Those of them that have it.
        precision: None where the label is never given.
        recall: None where no image has it.
        f1: None where both are so.
    """

    num_given: int
    num_hits: int
    precision: float | None
    recall: float | None
    f1: float | None

    @classmethod
    def of(cls, truth: Flags, given: Flags) -> Decisions:
        """Of one label, `bool[N]` each.

        Args:
            truth: Which images have it.
            given: Which are given it.
        """
        hits, num_given, support = int((truth & given).sum()), int(given.sum()), int(truth.sum())
        return cls(
            num_given=num_given,
            num_hits=hits,
            precision=hits / num_given if num_given else None,
            recall=hits / support if support else None,
            f1=2 * hits / (num_given + support) if num_given + support else None,
        )


class LabelSideBySide(Frozen):
    """One label.

    Attributes:
        label: Its name.
        num_images: Images that have it.
        model, table: What each decides.
        num_only_model, num_only_table: Images on which only that one decides rightly whether it applies.
        p_value: Of McNemar's exact test on these two numbers.
    """

    label: str
    num_images: int
    model: Decisions
    table: Decisions
    num_only_model: int
    num_only_table: int
    p_value: float


class LabelsSideBySide(Frozen):
    """All labels of N images.

    Attributes:
        num_images: N.
        macro_f1: Mean F1 of the labels that some image has or is given.
        micro_f1: F1 of all decisions together.
        decisions: The share of right decisions, of images x labels.
        labels: Those that some image has or is given, in the order of the label map.
    """

    num_images: int
    macro_f1: Figure
    micro_f1: Figure
    decisions: Figure
    labels: tuple[LabelSideBySide, ...]


def labels_side_by_side(truth: Flags, model: Flags, table: Flags, labels: LabelMap) -> LabelsSideBySide:
    """Compare what a model and a table give the same images.

    Args:
        truth: `bool[N, K]`, the labels that the images have.
        model: `bool[N, K]`, what the model gives them.
        table: `bool[N, K]`, what the table gives them.
        labels: K names.
    """
    shown = (truth | model | table).any(axis=0)
    return LabelsSideBySide(
        num_images=len(truth),
        macro_f1=_figure(macro_f1_of, truth, model, table),
        micro_f1=_figure(micro_f1_of, truth, model, table),
        decisions=_figure(_share_right, truth, model, table),
        labels=tuple(
            _label(labels.names[place], truth[:, place], model[:, place], table[:, place])
            for place in np.flatnonzero(shown).tolist()
        ),
    )


def _label(label: str, truth: Flags, model: Flags, table: Flags) -> LabelSideBySide:
    only_model = int(((model == truth) & (table != truth)).sum())
    only_table = int(((table == truth) & (model != truth)).sum())
    return LabelSideBySide(
        label=label,
        num_images=int(truth.sum()),
        model=Decisions.of(truth, model),
        table=Decisions.of(truth, table),
        num_only_model=only_model,
        num_only_table=only_table,
        p_value=mcnemar(only_table, only_model),
    )


def _figure(measure: Measure, truth: Flags, model: Flags, table: Flags) -> Figure:
    whole = np.ones((1, len(truth)))
    ours, theirs = (float(np.nan_to_num(measure(whole, truth, each))[0]) for each in (model, table))
    found = [[measure(weights, truth, each) for weights in resamples(len(truth))] for each in (model, table)]
    of_model, of_table = (np.concatenate(each) for each in found)
    return Figure(
        model=ours,
        table=theirs,
        model_interval=interval_of(of_model, ours),
        table_interval=interval_of(of_table, theirs),
        difference=interval_of(of_model - of_table, ours - theirs),
    )


def _share_right(weights: Floats, truth: Flags, given: Flags) -> Floats:
    found: Floats = weights @ (truth == given).mean(axis=1) / weights.sum(axis=1)
    return found
