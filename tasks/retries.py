"""What is tried again, how often and after how long: failures of the machine, never those of the input."""

from __future__ import annotations

from typing import Any

from darkroom.data.errors import DarkroomError

# Of a part, and of a source: a server that was asked too much wants a minute.
RETRIES = 2
PART_DELAY_SECONDS = 5
FETCH_DELAYS_SECONDS = (5, 60)


def machine_failed(task: Any, run: Any, state: Any) -> bool:
    """A Prefect `retry_condition_fn`: false for an error that a retry would only repeat.

    Args:
        task, run: Prefect's; not used.
        state: The failed task run's.
    """
    try:
        state.result()
    except DarkroomError:
        return False
    except Exception:
        return True
    return False
