"""Labels in a Parquet file without images, such as Hugging Face's `metadata.parquet`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from darkroom.data.errors import LabelError
from darkroom.data.stores.listing import printable
from darkroom.data.tables.table import MAX_TABLE_BYTES, Rows, Table, folder_in

PARQUET_SUFFIX = ".parquet"
_MAX_ROWS = 20_000_000


def read_parquet(file: Path, source: Path) -> Table | None:
    """The columns of texts, whole numbers and truth values; None where there are fewer than two.

    Numbers of a `ClassLabel` are its names, where Hugging Face's `datasets` wrote them into the file.

    Raises:
        LabelError: where it is too large, or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = printable(file.name)
    try:
        with pq.ParquetFile(file) as opened:
            schema = opened.schema_arrow
            columns = [field.name for field in schema if _is_scalar(field.type)]
            size = sum(
                opened.metadata.row_group(group).column(column).total_uncompressed_size
                for group in range(opened.metadata.num_row_groups)
                for column in range(opened.metadata.num_columns)
                if opened.metadata.row_group(group).column(column).path_in_schema in columns
            )
            if size > MAX_TABLE_BYTES:
                raise LabelError(
                    f"{name} is larger than {MAX_TABLE_BYTES >> 20} MiB. Keep its path and label columns only."
                )
            if len(columns) < 2:
                return None
            if opened.metadata.num_rows > _MAX_ROWS:
                raise LabelError(f"{name} has more than {_MAX_ROWS:,} rows. Keep those of the images here only.")
            table = opened.read(columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise LabelError(f"{name} cannot be read as Parquet: {printable(str(error))[:200]}. Write it anew.") from None
    classes = class_names(schema)
    cells = [[_cell(value, classes.get(column)) for value in table.column(column).to_pylist()] for column in columns]
    rows = list(enumerate(zip(*cells, strict=True), start=1))
    return Rows(columns, rows).table(name, folder_in(file, source), unit="row")


def class_names(schema: Any) -> dict[str, list[str]]:
    """The names of the classes by column, from what `datasets` keeps in the schema's metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            column: [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}


def _is_scalar(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind) or types.is_boolean(kind)
    )


def _cell(value: Any, classes: list[str] | None) -> str:
    if value is None:
        return ""
    if classes is not None and isinstance(value, int) and 0 <= value < len(classes):
        return classes[value]
    return str(int(value)) if isinstance(value, bool) else str(value)
