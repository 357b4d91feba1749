"""The rules by which labels are found, as options and recipes give them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from darkroom.data.settings import SettingsModel


class LabelRules(SettingsModel):
    """How labels are found; by default the layout is recognised, and a source that can be read in two ways stops."""

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
    min_class_size: int = Field(default=1, ge=1, description="Leave out classes with fewer images than this")
    corrections: tuple[str, ...] = Field(
        default=(),
        description="Tables of path and label that win over the source's labels, as the page of label-next saves them; "
        "repeatable",
    )

    @model_serializer(mode="wrap")
    def _without_later_settings(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out settings that were added later and are not set, so that existing versions keep their hash."""
        later = {"split_column", "class_folders", "exclude", "masks", "bad_rows", "combined_labels", "min_class_size",
                 "corrections"}  # fmt: skip
        fields = type(self).model_fields
        kept: dict[str, Any] = dump(self)
        return {
            key: value for key, value in kept.items() if key not in later or getattr(self, key) != fields[key].default
        }

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
