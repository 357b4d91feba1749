"""Which failures are worth another try: those of the machine, never those of the input."""

from __future__ import annotations

from typing import Any

from darkroom.data.errors import DarkroomError


def machine_failed(task: Any, run: Any, state: Any) -> bool:
    """A Prefect `retry_condition_fn`: false where the error is one that a retry would only repeat."""
    try:
        state.result()
    except DarkroomError:
        return False
    except Exception:
        return True
    return False
