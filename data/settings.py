"""What settings have in common: they cannot change, know no other fields, and say what each field is for."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue

# What happens where pixels of two decoders meet that are known to differ: see `darkroom.data.images.decoder`.
DecoderMismatch = Literal["warn", "strict"]


class SettingsModel(BaseModel):
    """Base of all settings; their JSON schema, which Prefect's forms are made of, tells what the docstrings tell."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        described = handler.resolve_ref_schema(schema)
        if "description" in described:
            described["description"] = described["description"].partition("\n")[0]
        for field, properties in described.get("properties", {}).items():
            properties["description"] = field_help(cls, field)
        return schema


def field_help(model: type[BaseModel], field: str) -> str:
    """What the `Attributes:` of a class's docstring, or of a base class's, say of a field."""
    for owner in model.__mro__:
        text = inspect.cleandoc(owner.__doc__ or "").partition("Attributes:")[2]
        for names, said in re.findall(r"^    ([\w, ]+): (.*(?:\n {8}.*)*)", text, re.MULTILINE):
            if field in names.split(", "):
                return " ".join(str(said).replace("`", "").split())
    return ""


def what_is_wrong(subject: str, error: Mapping[str, Any]) -> str:
    """One of pydantic's errors as a sentence about `subject`, an option or a setting's name, without its full stop."""
    said = str(error["msg"]).rstrip(".")
    if error["type"] == "extra_forbidden":
        return f"{subject} is not a setting"
    if error["type"] == "missing":
        return f"{subject} is missing"
    if error["type"] == "model_type":
        return f"{subject} must be a group of settings"
    if said.startswith("Input should be "):
        return f"{subject} must be {said.removeprefix('Input should be ').partition(', unable to ')[0]}"
    return f"{subject}: {said.removeprefix('Value error, ')}"
