"""Early stopping: when a stage has had enough epochs, and which of them was the best.

Both follow from the history alone, so they survive a killed run.
"""

from __future__ import annotations

from collections.abc import Sequence

from darkroom.models.bundle.bundle import EpochLog


def best_epoch(history: Sequence[EpochLog]) -> EpochLog:
    """The epoch with the lowest validation loss; of equals the earliest. The history holds one epoch or more."""
    return min(history, key=lambda log: log.val_loss)


def is_over(history: Sequence[EpochLog], epochs: int, patience: int) -> bool:
    """Whether a stage has had `epochs` epochs, or `patience` epochs in a row that were no better than the best."""
    return bool(history) and (
        len(history) >= epochs or len(history) - 1 - history.index(best_epoch(history)) >= patience
    )
