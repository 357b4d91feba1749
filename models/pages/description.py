"""A result in words, and as Markdown. `flows/descriptions.py` words it; what shows it adds nothing of its own."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from darkroom.models.pages import markdown


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Row(_Frozen):
    """One thing that a result says.

    Attributes:
        label: What it is about.
        text: What is said, numbers with their units.
    """

    label: str
    text: str


class Table(_Frozen):
    """Many things of a kind.

    Attributes:
        title: What they are.
        columns: Names of the columns.
        cells: Rows of cells.
    """

    title: str
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]


class Description(_Frozen):
    """A result in words.

    Attributes:
        title: What was made, such as `Data set digits@ec4452c60846`.
        rows: What there is to say of it, the most important first.
        remarks: Whole sentences: what is worth a thought, or what can be done.
        tables: What takes a table.
    """

    title: str
    rows: tuple[Row, ...]
    remarks: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()

    def with_tables(self, *tables: Table) -> Description:
        """The same with more tables, but for those without a row."""
        return self.model_copy(update={"tables": (*self.tables, *(table for table in tables if table.cells))})

    def as_markdown(self) -> str:
        """A page of Markdown, in which names from outside are text."""
        lines = [f"# {markdown.text(self.title)}", ""]
        lines += [f"- **{markdown.text(row.label)}**: {markdown.text(row.text)}" for row in self.rows]
        for remark in self.remarks:
            lines += ["", markdown.text(remark)]
        for table in self.tables:
            lines += ["", f"## {markdown.text(table.title)}", ""]
            lines += markdown.table([markdown.text(column) for column in table.columns], table.cells)
        return "\n".join(lines)


def cells_of(rows: Iterable[Iterable[str | int | None]]) -> tuple[tuple[str, ...], ...]:
    """The cells of a table as text, numbers with separators and nothing for None.

    Args:
        rows: Of the table.
    """
    return tuple(tuple(f"{cell:,}" if isinstance(cell, int) else cell or "" for cell in row) for row in rows)
