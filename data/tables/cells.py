"""The cells of a table, kept by column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_ROWS_PER_BATCH = 2**16


@dataclass(frozen=True)
class Cells:
    """Rows of text as Arrow keeps them: a tenth of what Python's own strings and tuples take.

    Attributes:
        batches: The first column is the line in the file; the others are the cells.
    """

    batches: tuple[pa.RecordBatch, ...]

    def __len__(self) -> int:
        return sum(batch.num_rows for batch in self.batches)

    def __iter__(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Line and cells of each row."""
        for batch in self.batches:
            lines, *columns = (column.to_pylist() for column in batch.columns)
            yield from zip(lines, zip(*columns, strict=True), strict=True)

    def head(self, num_rows: int) -> list[tuple[int, tuple[str, ...]]]:
        """Line and cells of the first rows."""
        return list(islice(Cells(tuple(batch.slice(0, num_rows) for batch in self.batches[:1])), num_rows))

    def column(self, index: int) -> Iterator[str]:
        """The cells of a column."""
        for batch in self.batches:
            yield from batch.column(index + 1).to_pylist()

    def distinct(self, index: int) -> set[str]:
        """The different cells of a column."""
        return {cell for batch in self.batches for cell in batch.column(index + 1).unique().to_pylist()}

    def of_several_lines(self) -> Iterator[tuple[int, str]]:
        """The cells that hold a newline, with the line of their row."""
        for batch in self.batches:
            for column in batch.columns[1:]:
                broken = pc.match_substring(column, "\n")
                yield from zip(
                    batch.column(0).filter(broken).to_pylist(), column.filter(broken).to_pylist(), strict=True
                )

    def select(self, *indices: int) -> Cells:
        """The rows with these columns alone."""
        return Cells(tuple(batch.select([0, *(index + 1 for index in indices)]) for batch in self.batches))

    @classmethod
    def of(cls, rows: Iterable[Sequence[Any]], num_columns: int) -> Cells:
        """The cells of rows.

        Args:
            rows: Each its line, then its cells.
            num_columns: The cells in each.
        """
        types = [pa.int64(), *[pa.string()] * num_columns]
        names = [str(number) for number in range(num_columns + 1)]
        batches, rows = [], iter(rows)
        while some := list(islice(rows, _ROWS_PER_BATCH)):
            columns = [pa.array(column, kind) for column, kind in zip(zip(*some, strict=True), types, strict=True)]
            batches.append(pa.record_batch(columns, names))
        return cls(tuple(batches))
