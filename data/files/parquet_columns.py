"""The columns of Parquet files that others wrote: which are plain values, and how a value reads as text."""

from __future__ import annotations

import json
from typing import Any


def class_names(schema: Any) -> dict[str, list[str]]:
    """The names of the classes by column, from what `datasets` keeps in a schema's metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            column: [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}


def is_scalar(kind: Any) -> bool:
    """Whether a column's type is of texts, whole numbers or truth values."""
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind) or types.is_boolean(kind)
    )


def cell_text(value: Any, classes: list[str] | None = None) -> str:
    """A value of such a column as text; "" for a null.

    Args:
        value: As PyArrow returns it.
        classes: Names of the classes, for a column of class numbers.
    """
    if value is None:
        return ""
    if classes is not None and isinstance(value, int) and 0 <= value < len(classes):
        return classes[value]
    return str(int(value)) if isinstance(value, bool) else str(value)
