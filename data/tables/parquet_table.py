"""Labels in a Parquet file without images, such as Hugging Face's `metadata.parquet`."""

from __future__ import annotations

from pathlib import Path

from darkroom.data.errors import LabelError
from darkroom.data.files.parquet_columns import cell_text, class_names, is_scalar
from darkroom.data.stores.listing import printable
from darkroom.data.tables.table import MAX_TABLE_BYTES, Rows, Table, folder_in

PARQUET_SUFFIX = ".parquet"
_MAX_ROWS = 20_000_000


def read_parquet(file: Path, source: Path) -> Table | None:
    """The columns of texts, numbers and truth values; None where there are fewer than two.

    Numbers of a `ClassLabel` are its names, where Hugging Face's `datasets` wrote them into the file.

    Args:
        file: The file.
        source: The folder that it belongs to.

    Raises:
        LabelError: where it is too large, or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = printable(file.name)
    try:
        with pq.ParquetFile(file) as opened:
            schema = opened.schema_arrow
            columns = [field.name for field in schema if is_scalar(field.type, fractions=True)]
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
    cells = [
        [cell_text(value, classes.get(column)) for value in table.column(column).to_pylist()] for column in columns
    ]
    rows = list(enumerate(zip(*cells, strict=True), start=1))
    return Rows(columns, rows).table(name, folder_in(file, source), unit="row")
