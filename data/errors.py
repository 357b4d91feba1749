"""The exception hierarchy.

DarkroomError
├── InputError            the arguments or the input are wrong: exit status 2
│   ├── SourceError       a source that cannot be found, fetched or unpacked
│   ├── LabelError        labels that are missing, unknown or contradictory
│   ├── SettingError      a setting outside its range, or two that do not fit
│   └── FormatError       a card, bundle or table that is missing, foreign or damaged
├── WorkError             the work failed: exit status 1
│   ├── CountError        counts that must add up and do not
│   └── LimitError        a run that its limits fail, though its table is whole
└── ImageError            one image cannot be used; becomes a row with `reason`, never the end of a run
"""

from __future__ import annotations

from typing import Any

from darkroom.data.reason_codes import ReasonCode


class DarkroomError(Exception):
    """Base class; `str(error)` is one plain sentence for the person who ran the command."""

    exit_status = 1


class InputError(DarkroomError):
    """The arguments or the input are wrong."""

    exit_status = 2


class SourceError(InputError):
    """A source cannot be found, fetched or unpacked."""


class LabelError(InputError):
    """Labels are missing, unknown or contradictory."""


class SettingError(InputError):
    """A setting is out of range, or two settings contradict each other."""


class FormatError(InputError):
    """A card, bundle or table is missing, damaged, or of an unknown schema version."""


class WorkError(DarkroomError):
    """The work itself failed."""


class CountError(WorkError):
    """Counts that must add up do not."""


class LimitError(WorkError):
    """A run exceeds a limit that fails it; all that it was to write is written.

    Attributes:
        result: The run's result, for whoever shows it; None where it is not known.
    """

    result: Any = None


class ImageError(DarkroomError):
    """One image cannot be used.

    Args:
        reason: The code that goes into the manifest or the prediction table: see `reason_codes.py`.
        detail: What the decoder said, for the log.
    """

    def __init__(self, reason: ReasonCode, detail: str = "") -> None:
        """Make the error; its text is the reason, and the detail where there is one.

        Args:
            reason: As above.
            detail: As above.
        """
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[ImageError], tuple[ReasonCode, str]]:
        return type(self), (self.reason, self.detail)
