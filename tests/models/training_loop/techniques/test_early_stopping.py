"""Early stopping, and which epoch is the best."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from darkroom.models.bundle.bundle import EpochLog
from darkroom.models.training_loop.techniques.early_stopping import best_epoch, is_over


def log(val_loss: float) -> EpochLog:
    return EpochLog(epoch=1, stage="head", loss=1, accuracy=0, val_loss=val_loss, val_accuracy=0, seconds=0)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30), st.integers(1, 30), st.integers(1, 6))
def test_training_stops_when_no_epoch_was_better_for_as_long_as_the_patience(losses, epochs, patience):
    history: list[EpochLog] = []
    best, since = math.inf, 0
    for loss in losses:
        assert not is_over(history, epochs, patience)
        history.append(log(loss))
        best, since = (loss, 0) if loss < best else (best, since + 1)
        assert best_epoch(history).val_loss == best == min(losses[: len(history)])
        stopped = since >= patience or len(history) == epochs
        assert is_over(history, epochs, patience) == stopped
        if stopped:
            break


def test_of_equally_good_epochs_the_earliest_is_kept():
    history = [log(2.0), log(1.0), log(1.0)]
    assert best_epoch(history) is history[1]
