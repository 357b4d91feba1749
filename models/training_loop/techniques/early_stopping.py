"""Early stopping: when a stage has had enough epochs, and which of them was the best.

Both follow from the history alone, so they survive a killed run.
"""

from __future__ import annotations

from collections.abc import Sequence

from darkroom.models.bundle.bundle import EpochLog


def best_epoch(history: Sequence[EpochLog]) -> EpochLog:
    """The epoch with the lowest validation loss, the earliest of equals; the history must not be empty."""
    return min(history, key=lambda log: log.val_loss)


def is_over(history: Sequence[EpochLog], epochs: int, patience: int) -> bool:
    """Whether a stage is over.

    Args:
        history: Its epochs so far.
        epochs: Maximum epochs.
        patience: Epochs in a row without a lower validation loss after which it ends.
    """
    return bool(history) and (
        len(history) >= epochs or len(history) - 1 - history.index(best_epoch(history)) >= patience
    )
