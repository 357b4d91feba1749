"""The columns of Parquet files that others wrote: which are plain values, and how a value reads as text."""

from __future__ import annotations

import json
import math
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


def is_scalar(kind: Any, fractions: bool = False) -> bool:
    """Whether a column's type is of texts, whole numbers or truth values.

    Args:
        kind: The type.
        fractions: Take numbers with fractions too.
    """
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    is_text = types.is_string(kind) or types.is_large_string(kind)
    is_fraction = fractions and types.is_floating(kind)
    return bool(is_text or types.is_integer(kind) or types.is_boolean(kind) or is_fraction)


def cell_text(value: Any, classes: list[str] | None = None) -> str:
    """A value of such a column as text; "" for a null, and for a class number without a name: -1 stands for unknown.

    Args:
        value: As PyArrow returns it.
        classes: Names of the classes, for a column of class numbers.
    """
    if value is None:
        return ""
    if classes is not None and isinstance(value, int):
        return classes[value] if 0 <= value < len(classes) else ""
    if isinstance(value, float):  # whole numbers became fractions where pandas had a gap among them
        return "" if math.isnan(value) else str(int(value)) if value.is_integer() else str(value)
    return str(int(value)) if isinstance(value, bool) else str(value)
