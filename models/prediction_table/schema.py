"""The prediction table's columns. docs/scoring.md explains each; other programs rely on names, types and order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from darkroom.data.errors import SettingError
from darkroom.data.task import SEPARATOR

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
# The most likely classes that a table keeps of an image.
TOP_K = 5
TopK = int | Literal["all"]
EMBEDDING = "embedding"
UNFAMILIARITY, UNFAMILIAR = "unfamiliarity", "unfamiliar"
LABELS = "darkroom.labels"

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("label", pa.string()),
        ("confidence", pa.float32()),
        ("abstained", pa.bool_()),
        ("top_k", pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float32())]))),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)
# Of a model that tells which images are unfamiliar, after those above.
_OF_FAMILIARITY = (pa.field(UNFAMILIARITY, pa.float32()), pa.field(UNFAMILIAR, pa.bool_()))


def check_top_k(top_k: TopK) -> None:
    """Refuse a number of classes that no table can keep.

    Raises:
        SettingError: where it is below 1, or another word than `all`.
    """
    if top_k != "all" and (not isinstance(top_k, int) or top_k < 1):
        raise SettingError(f"--top-k takes a whole number of at least 1, or all, not {top_k!r}.")


def kept_classes(top_k: TopK, num_labels: int) -> int:
    """How many classes a table keeps, as it is stored: of two numbers that keep the same, the default.

    Args:
        top_k: As asked for.
        num_labels: Classes of the model.
    """
    kept = num_labels if top_k == "all" else min(top_k, num_labels)
    return TOP_K if kept == min(TOP_K, num_labels) else kept


def multi_label_schema(labels: Sequence[str]) -> pa.Schema:
    """`SCHEMA` where an image may have several labels: `labels` takes the place of `label`.

    `probabilities` has one number for each of the model's labels, in the order in which the schema's metadata name them
    under `darkroom.labels`, as JSON.
    """
    fields = {
        "label": [pa.field("labels", pa.list_(pa.string()))],
        "top_k": [SCHEMA.field("top_k"), pa.field("probabilities", pa.list_(pa.float32(), len(labels)))],
    }
    found = [field for each in SCHEMA for field in fields.get(each.name, [each])]
    return pa.schema(found, metadata={LABELS: json.dumps(list(labels), ensure_ascii=False)})


def labels_in(schema: pa.Schema) -> tuple[str, ...]:
    """The labels that `probabilities` stand for, of a table with several labels an image; () of one with one."""
    found = (schema.metadata or {}).get(LABELS.encode())
    return tuple(json.loads(found)) if found else ()


def table_schema(labels: Sequence[str] = (), embedding_size: int | None = None, familiarity: bool = False) -> pa.Schema:
    """The columns of a table.

    Args:
        labels: Of a model for several labels an image; () for one.
        embedding_size: Numbers in the column `embedding`; None where there is none.
        familiarity: With the columns `unfamiliarity` and `unfamiliar`.
    """
    schema = multi_label_schema(labels) if labels else SCHEMA
    if familiarity:
        schema = pa.schema([*schema, *_OF_FAMILIARITY], schema.metadata)
    if embedding_size is None:
        return schema
    return schema.append(pa.field(EMBEDDING, pa.list_(pa.float32(), embedding_size)))


def as_table(
    rows: Sequence[dict[str, Any]],
    embedding_size: int | None = None,
    labels: Sequence[str] = (),
    familiarity: bool = False,
) -> pa.Table:
    """Rows as a table of `table_schema`; embeddings go in as one array, not number by number.

    Args:
        rows: Values by column.
        embedding_size: Numbers in an embedding; None for a table without that column.
        labels: Of a model for several labels an image; () for one.
        familiarity: With the columns `unfamiliarity` and `unfamiliar`.
    """
    table = pa.Table.from_pylist(list(rows), schema=table_schema(labels, None, familiarity))
    if embedding_size is None:
        return table
    given = [row.get(EMBEDDING) for row in rows]
    nothing = np.zeros(embedding_size, np.float32)
    vectors = [nothing if vector is None else np.asarray(vector, np.float32) for vector in given]
    flat = pa.array(np.concatenate(vectors) if vectors else nothing[:0])
    missing = pa.array([vector is None for vector in given], pa.bool_())
    column = pa.FixedSizeListArray.from_arrays(flat, embedding_size, mask=missing)
    return table.append_column(table_schema(labels, embedding_size).field(EMBEDDING), column)


def flatten_top_k(table: pd.DataFrame) -> pd.DataFrame:
    """A table for CSV, which has no lists: plain columns at the end replace `top_k`.

    They are `top_1_label`, `top_1_probability`, `top_2_label` and so on, null for a quarantined file. Several labels of
    an image are joined by `|`; `probabilities` are left out, since a table in memory no longer says whose they are.

    Args:
        table: A prediction table, as `pandas.read_parquet` returns it.
    """
    import pandas as pd

    if "labels" in table:
        joined = [SEPARATOR.join(each) if isinstance(each, Iterable) else None for each in table["labels"]]
        table = table.assign(labels=pd.Series(joined, table.index, dtype=object)).drop(columns="probabilities")

    entries = [list(each) if isinstance(each, Iterable) else [] for each in table["top_k"]]
    flat = {
        f"top_{place + 1}_{field}": [row[place][field] if place < len(row) else None for row in entries]
        for place in range(max(map(len, entries), default=0))
        for field in ("label", "probability")
    }
    return pd.concat([table.drop(columns="top_k"), pd.DataFrame(flat, index=table.index)], axis=1)
