"""The rules by which labels are found, as options and recipes give them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from darkroom.data.labels.label_cells import ONE_LABEL, LabelCells, SeveralLabels
from darkroom.data.settings import SettingsModel, without_defaults
from darkroom.data.task import TaskName


class LabelRules(SettingsModel):
    """How labels are found; by default the layout is recognised, and a source that can be read in two ways stops."""

    task: TaskName = Field(
        default="single-label",
        description="single-label, or multi-label: an image has any number of labels, or none; see docs/multi-label.md",
    )
    source: Literal["auto", "folders", "top-folder", "parent-folder", "filename", "csv"] = Field(
        default="auto",
        description="Where labels come from: auto recognises the layout; folders, the class folders; top-folder, the "
        "outermost folder below a split; parent-folder, the folder that holds the file; filename, a pattern; csv, a "
        "table",
    )
    pattern: str | None = Field(
        default=None, description="Regular expression with a group named label, searched for in the file name"
    )
    csv: str | None = Field(
        default=None,
        description="Table of labels, relative to the source or absolute: CSV, or JSON, XML or Parquet of a known form "
        "(default: the only one whose paths name images)",
    )
    path_column: str | None = Field(
        default=None, description="Column of paths or ids in the CSV (default: recognised by its name or its cells)"
    )
    label_column: str | None = Field(
        default=None,
        description="Column of labels in the CSV (default: recognised by its name, or the only one that fits)",
    )
    split_column: str | None = Field(
        default=None,
        description="Column of splits in the CSV; none ignores it (default: recognised by its name)",
    )
    classes: tuple[str, ...] = Field(
        default=(), description="The only labels allowed, so that a misspelt one is found; empty allows any"
    )
    class_folders: tuple[str, ...] = Field(
        default=(),
        description="Names of folders that are classes although they look like a split or a container, such as "
        "test,photos",
    )
    exclude: tuple[str, ...] = Field(default=(), description="Patterns of paths to leave out, such as 'raw/*,*/old/*'")
    masks: Literal["leave-out", "use"] = Field(
        default="leave-out", description="What happens to images that are masks of other images"
    )
    bad_rows: Literal["stop", "leave-out"] = Field(
        default="stop",
        description="What happens to table rows that have no label, contradict each other, or name no file",
    )
    combined_labels: Literal["stop", "keep"] = Field(
        default="stop",
        description="What happens to cells that hold several labels: keep makes each combination a class",
    )
    numeric_labels: Literal["stop", "keep"] = Field(
        default="stop",
        description="What happens to a label column of many different numbers, such as prices: keep makes each "
        "number a class",
    )
    min_class_size: int = Field(default=1, ge=1, description="Leave out classes with fewer images than this")
    corrections: tuple[str, ...] = Field(
        default=(),
        description="Tables of path and label that win over the source's labels, as the page of label-next saves them; "
        "repeatable",
    )
    label_separator: str | None = Field(
        default=None,
        min_length=1,
        description="What separates the labels in a cell of a multi-label table, such as ' ' (default: recognised, of "
        "JSON lists, |, ; and the comma)",
    )
    empty_labels: Literal["stop", "no-label"] = Field(
        default="stop",
        description="What an empty cell of labels means in a multi-label table: stop, or no-label, none of them "
        "applies",
    )

    @model_serializer(mode="wrap")
    def _without_later_settings(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out settings that were added later and are not set, so that existing versions keep their hash."""
        later = {
            "task", "split_column", "class_folders", "exclude", "masks", "bad_rows", "combined_labels",
            "min_class_size", "numeric_labels", "corrections", "label_separator", "empty_labels",
        }  # fmt: skip
        return without_defaults(self, dump(self), later)

    def cells(self) -> LabelCells:
        """How the label cells of tables are read."""
        if self.task == "single-label":
            return ONE_LABEL
        return SeveralLabels(self.label_separator, self.empty_labels)

    def excludes(self, path: str) -> bool:
        """Whether a path matches a pattern of `exclude`."""
        return any(fnmatchcase(path, pattern) for pattern in self.exclude)

    @field_validator("class_folders", "exclude", "corrections", mode="before")
    @classmethod
    def _of_one_text(cls, given: Any) -> Any:
        """An option gives several as one text: `test,photos`."""
        return tuple(each.strip() for each in given.split(",") if each.strip()) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _names_one_source(self) -> LabelRules:
        of_csv = self.csv or self.path_column or self.label_column
        if self.pattern and of_csv:
            raise ValueError("`pattern` reads labels from file names, `csv` from a table: give one of the two")
        if self.pattern and self.source not in ("auto", "filename"):
            raise ValueError(f"`pattern` reads labels from file names, and `source` says {self.source}: choose one")
        if of_csv and self.source not in ("auto", "csv"):
            raise ValueError(f"`csv` and its columns are for tables, and `source` says {self.source}: choose one")
        return self

    @model_validator(mode="after")
    def _fits_the_task(self) -> LabelRules:
        if self.task == "single-label" and (self.label_separator or self.empty_labels != "stop"):
            raise ValueError(
                "`label_separator` and `empty_labels` are for several labels an image: set `task` to multi-label"
            )
        if self.task == "multi-label" and self.combined_labels != "stop":
            raise ValueError("combined_labels makes one class of several labels: leave it out, or the task multi-label")
        return self
