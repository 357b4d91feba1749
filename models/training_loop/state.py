"""The state of a stage on disk: `state-00007.keras` with the optimizer, `best.weights.h5`, `history.json`.

Each is written whole or not at all, the history last, so that a killed run resumes after the last epoch in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from darkroom.data.errors import FormatError
from darkroom.data.files.atomic import atomic_file, write_json
from darkroom.models.bundle.bundle import EpochLog
from darkroom.models.training_loop.techniques.early_stopping import best_epoch

BEST = "best.weights.h5"
_HISTORY = "history.json"


def keep_state(folder: Path, model: Any, history: Sequence[EpochLog]) -> None:
    """Save the model after the last epoch, and as the best where it is; the history is written last.

    Args:
        folder: The stage's.
        model: Keras, compiled.
        history: All epochs so far.
    """
    if best_epoch(history) is history[-1]:
        _save(folder / BEST, model.save_weights)
    keep_model(folder, model, len(history))
    write_json(folder / _HISTORY, [log.model_dump() for log in history])
    _state(folder, len(history) - 1).unlink(missing_ok=True)


def keep_model(folder: Path, model: Any, num_epochs: int) -> None:
    """Save the compiled model with its optimizer.

    Args:
        folder: The stage's.
        model: Keras, compiled.
        num_epochs: Epochs that it was trained for.
    """
    _save(_state(folder, num_epochs), model.save)


def _state(folder: Path, num_epochs: int) -> Path:
    """The model after `num_epochs` epochs; the number is in the name, so that it cannot belong to another history."""
    return folder / f"state-{num_epochs:05d}.keras"


def restore(folder: Path, num_epochs: int, optimizer: Any) -> Any:
    """The model as it was kept after some epochs.

    The optimizer is not taken from the file, only its state: Keras does not save which weights are excluded from decay.

    Args:
        folder: The stage's.
        num_epochs: Epochs that it was trained for.
        optimizer: Is given the state of the one that trained the model.

    Raises:
        FormatError: where the state is missing or damaged, or of another optimizer.
    """
    import keras

    try:
        model = keras.models.load_model(_state(folder, num_epochs), safe_mode=True)
        optimizer.build(model.trainable_variables)
        for variable, stored in zip(optimizer.variables, model.optimizer.variables, strict=True):
            variable.assign(stored)
    except Exception as error:
        raise _unusable(folder, error) from None
    return model


def read_history(folder: Path) -> list[EpochLog]:
    """The epochs that are kept in a stage's folder; none before the first.

    Raises:
        FormatError: where the file is damaged.
    """
    file = folder / _HISTORY
    if not file.is_file():
        return []
    try:
        return [EpochLog.model_validate(entry) for entry in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise _unusable(folder, error) from None


def _unusable(folder: Path, error: Exception) -> FormatError:
    return FormatError(
        f"The saved state in {folder} cannot be read ({type(error).__name__}). Remove {folder.parent} and train again."
    )


def _save(path: Path, save: Callable[[str], None]) -> None:
    """Keras insists on the suffix, so the temporary name ends in it too."""
    with atomic_file(path) as temporary:
        suffixed = temporary.with_name(temporary.name + "".join(path.suffixes))
        try:
            save(str(suffixed))
            suffixed.rename(temporary)
        finally:
            suffixed.unlink(missing_ok=True)
