"""What settings have in common: they cannot change, and know no other fields.

What a field is for is said once, in its `Field(description=...)`: the help of the command line and Prefect's forms are
made of it. What may be given is its type and bounds: the sentence about a wrong value is made of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict

from darkroom.data.figures import listed

# What happens where pixels of two decoders meet that are known to differ: see `data/images/decoder_fingerprint.py`.
DecoderMismatch = Literal["warn", "strict"]

# The bounds of a number, by what pydantic calls them.
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}

# Where a setting stands in its model, as pydantic says it: names, and numbers within a value.
Location = tuple[Any, ...]


class SettingsModel(BaseModel):
    """Base of all settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def without_defaults(model: BaseModel, dumped: dict[str, Any], later: Collection[str]) -> dict[str, Any]:
    """A dump without those of the `later` fields that have their default: cards and hashes of before stay as they are.

    Args:
        model: What was dumped.
        dumped: Its fields, as its serializer gives them.
        later: Names of fields that came after such models were first written.
    """
    fields = type(model).model_fields
    return {
        name: value
        for name, value in dumped.items()
        if name not in later or getattr(model, name) != fields[name].default
    }


@dataclass(frozen=True)
class Bounds:
    """The least and the largest number that may be given.

    Attributes:
        ge: The least; None where there is none.
        le: The largest; None where there is none.
    """

    ge: float | None
    le: float | None


def what_is_wrong(model: type[BaseModel], error: Mapping[str, Any], name_of: Callable[[Location], str]) -> str:
    """One of pydantic's errors as a sentence, without its full stop.

    Args:
        model: The settings that were refused.
        error: An entry of `ValidationError.errors()`. A validator of ours puts the names of settings into backticks.
        name_of: What the person calls the setting at a place: an option, a keyword argument, a key of a recipe.
    """
    place, said = tuple(error["loc"]), str(error["msg"]).removeprefix("Value error, ").rstrip(".")
    subject, received = name_of(place), error["input"]
    if error["type"] == "extra_forbidden":
        return f"{subject} is not a setting"
    if error["type"] == "missing":
        return f"{subject} is missing"
    if error["type"] == "model_type":
        return f"{subject} takes a group of settings, not {shown(received)}"
    field = _field_at(model, place)
    if error["type"] in ("value_error", "decode_version") or field is None:
        is_group = isinstance(received, BaseModel | Mapping)  # whose settings do not fit each other
        sentence = said[:1].upper() + said[1:] if is_group else f"{subject}: {said}"
        return re.sub(r"`(\w+)`", lambda name: name_of((*place, name[1])), sentence)
    return f"{subject} takes {what_may_be_given(*field)}, not {shown(received)}"


def what_may_be_given(annotation: Any, bounds: Sequence[Any] = ()) -> str:
    """The values of a type and its bounds in words: `stretch, pad or crop`, `a whole number from 1 to 8,192`.

    Args:
        annotation: The type.
        bounds: What pydantic keeps as a field's `metadata`.
    """
    arguments = [each for each in get_args(annotation) if each is not type(None)]
    if get_origin(annotation) is Literal:
        return listed([str(value) for value in arguments])
    if annotation not in (int, float):
        if type(None) in get_args(annotation):
            return what_may_be_given(arguments[0], bounds)
        return {bool: "true or false", str: "text", tuple: "a list"}.get(get_origin(annotation) or annotation, "a path")
    found = {name: getattr(each, name) for each in bounds for name in _BOUNDS if getattr(each, name, None) is not None}
    kind = "a whole number" if annotation is int else "a number"
    if {"ge", "le"} <= found.keys():
        return f"{kind} from {found['ge']:,} to {found['le']:,}"
    said = listed([f"{words} {found[name]:,}" for name, words in _BOUNDS.items() if name in found], "and")
    return f"{kind} {'of ' if said.startswith('at') else ''}{said}".rstrip()


def _field_at(model: type[BaseModel], place: Location) -> tuple[Any, Sequence[Any]] | None:
    """Type and bounds of the setting at a place; None where it is a group of settings, or there is no such."""
    annotation: Any = model
    bounds: Sequence[Any] = ()
    for part in place:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and part in annotation.model_fields:
            info = annotation.model_fields[part]
            annotation, bounds = info.annotation, info.metadata
        elif isinstance(part, int) and get_origin(annotation) is tuple:
            annotation = get_args(annotation)[0]
            if get_origin(annotation) is Annotated:
                annotation, info = get_args(annotation)
                bounds = info.metadata
    return None if isinstance(annotation, type) and issubclass(annotation, BaseModel) else (annotation, bounds)


def shown(value: Any) -> str:
    """A value as it was given: a number as it is, all else in quotes."""
    text = str(value)
    return text if re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", text) else repr(text)
