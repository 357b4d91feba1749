"""Limits on what a run may be like: what exceeds one is said, and where the limit says so, ends the run as failed.

In a file, or as a deployment's parameter; a number alone is a limit that warns:

    max_quarantined: 0.2
    max_unfamiliar: {limit: 0.1, then: fail}
    min_new_files: {limit: 1, then: fail}
    max_drift: null                              # none
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError

from darkroom.data.errors import SettingError
from darkroom.data.figures import percent
from darkroom.data.settings import SettingsModel, what_is_wrong
from darkroom.models.measures.intervals import Frozen

Then = Literal["warn", "fail"]


class Limit(SettingsModel):
    """A limit, and what happens beyond it.

    Attributes:
        limit: The value that is still allowed.
        then: `warn` says it; `fail` ends the run as failed, after its table is whole.
    """

    limit: float = Field(ge=0, description="The value that is still allowed")
    then: Then = Field(default="warn", description="What happens beyond it; fail: after the table is whole")


def _of_number(given: Any) -> Any:
    return {"limit": given} if isinstance(given, int | float) and not isinstance(given, bool) else given


_Limit = Annotated[Limit | None, BeforeValidator(_of_number)]


class Limits(SettingsModel):
    """All limits; None is none.

    Attributes:
        max_quarantined: Share of the new files that were quarantined.
        max_abstained: Share of the new images on which the model abstained.
        max_unfamiliar: Share of the new images that are unlike those of training.
        max_drift: The largest distance of a quantity that has drifted, 0 to 1.
        min_new_files: New files in a run.
        min_expected_accuracy: The expected accuracy; where it is withheld, this limit says nothing.
    """

    max_quarantined: _Limit = Field(default=Limit(limit=0.2), description="Share of new files that are quarantined")
    max_abstained: _Limit = Field(default=None, description="Share of new images on which the model abstains")
    max_unfamiliar: _Limit = Field(default=Limit(limit=0.2), description="Share of new images unlike training's")
    max_drift: _Limit = Field(default=Limit(limit=0.25), description="Largest distance of a quantity, 0 to 1")
    min_new_files: _Limit = Field(default=None, description="New files in a run")
    min_expected_accuracy: _Limit = Field(default=None, description="Expected accuracy, where there is one")


class Figures(Frozen):
    """What limits are compared with; None is not known, and exceeds nothing.

    Attributes:
        num_new: New files.
        quarantined, abstained, unfamiliar: Shares of them, 0 to 1.
        drift: See `darkroom.models.watching.drift.Drift.size`.
        expected_accuracy: 0 to 1.
    """

    num_new: int
    quarantined: float | None = None
    abstained: float | None = None
    unfamiliar: float | None = None
    drift: float | None = None
    expected_accuracy: float | None = None


class Breach(Frozen):
    """A limit that a run does not keep.

    Attributes:
        name: The setting's.
        limit: What was allowed.
        value: What was found.
        then: What happens.
        sentence: The same for a person.
    """

    name: str
    limit: float
    value: float
    then: Then
    sentence: str


_VALUES: Mapping[str, Callable[[Figures], float | None]] = {
    "max_quarantined": lambda figures: figures.quarantined,
    "max_unfamiliar": lambda figures: figures.unfamiliar,
    "max_abstained": lambda figures: figures.abstained,
    "max_drift": lambda figures: figures.drift,
    "min_new_files": lambda figures: float(figures.num_new),
    "min_expected_accuracy": lambda figures: figures.expected_accuracy,
}
_SAID = {
    "max_quarantined": "{} of the new files are quarantined",
    "max_unfamiliar": "{} of the new images are unlike those of training",
    "max_abstained": "the model abstains on {} of the new images",
    "max_drift": "the new images have a drift of {}",
    "min_new_files": "new files: {}",
    "min_expected_accuracy": "an accuracy of {} is expected",
}


def breaches(limits: Limits, figures: Figures) -> tuple[Breach, ...]:
    """The limits that a run does not keep, those that fail it first.

    Args:
        limits: What is allowed.
        figures: What was found. Where no file is new, only `min_new_files` can be missed.
    """
    found = []
    for name, value in _VALUES.items():
        limit: Limit | None = getattr(limits, name)
        known = value(figures)
        if limit is None or known is None:
            continue
        is_least = name.startswith("min")
        if known < limit.limit if is_least else known > limit.limit:
            asks = f"{name} {'asks for' if is_least else 'allows'} {_written(name, limit.limit)}"
            sentence = f"{_SAID[name].format(_written(name, known))}; {asks}"
            found.append(Breach(name=name, limit=limit.limit, value=known, then=limit.then, sentence=sentence))
    return tuple(sorted(found, key=lambda breach: breach.then != "fail"))


def _written(name: str, value: float) -> str:
    if name == "min_new_files":
        return f"{value:,.0f}"
    return f"{value:.2f}" if name in ("max_drift", "min_expected_accuracy") else percent(value)


def read_limits(given: Limits | Mapping[str, Any] | str | Path | None) -> Limits:
    """The limits that a file, or a deployment's parameter, sets.

    Args:
        given: A YAML file, values by name, or None for the defaults.

    Raises:
        SettingError: where the file cannot be read, or a limit is unknown or wrong.
    """
    if given is None or isinstance(given, Limits):
        return given or Limits()
    where, values = "limits", given
    if isinstance(given, str | Path):
        where = str(given)
        try:
            values = yaml.safe_load(Path(given).read_text(encoding="utf-8")) or {}
        except OSError as error:
            raise SettingError(f"{where}: {error.strerror}. --limits takes a YAML file.") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise SettingError(f"{where} is no YAML file: {' '.join(str(error).split())}.") from None
    if not isinstance(values, Mapping):
        raise SettingError(f"{where} takes lines such as max_drift: 0.3, not {values!r}.")
    try:
        return Limits.model_validate(values)
    except ValidationError as error:
        raise SettingError(f"{where}: {_wrong(error)}.") from None


def _wrong(error: ValidationError) -> str:
    first = error.errors()[0]
    name, *inside = (str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden" and not inside:
        return f"{name} is not a setting. There are {', '.join(Limits.model_fields)}"
    if first["type"] == "model_type":
        return f"{name} takes a number, or {{limit: NUMBER, then: fail}}, not {first['input']!r}"
    return what_is_wrong(Limit, {**first, "loc": tuple(inside)}, lambda place: ".".join([name, *place]))
