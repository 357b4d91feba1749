"""The rules by which labels are found, as options and recipes give them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from darkroom.data.settings import SettingsModel


class LabelRules(SettingsModel):
    """How labels are found; by default the layout is recognised, and where it can be read in two ways nothing is.

    Attributes:
        source: `auto`, `folders`, `top-folder` (the outermost folder below a split), `parent-folder` (the folder that
            holds the file), `filename` (`pattern`) or `csv`.
        pattern: Regular expression on the file name with a group named `label`; searched, not matched from the start.
        csv: Table with a header, relative to the source or absolute; found by itself in `auto` where it is the only
            one whose paths name images.
        path_column: Column of paths or ids; found by its name or its cells where None.
        label_column: Column of labels; found by its name, or as the only one that fits, where None.
        classes: The only labels that may occur, to find a misspelt one; () allows any.
        class_folders: Names of folders that are classes though they look like a split or a container, as `test`.
        exclude: Patterns of paths to leave out, as `raw/*`.
        masks: `leave-out` or `use` images that are masks of other images.
        bad_rows: `stop` at table rows without a label or that contradict each other, or `leave-out` these rows.
        combined_labels: `stop` where a cell holds several labels, or `keep` each combination as a class.
        min_class_size: Classes with fewer images are left out.
    """

    source: Literal["auto", "folders", "top-folder", "parent-folder", "filename", "csv"] = "auto"
    pattern: str | None = None
    csv: str | None = None
    path_column: str | None = None
    label_column: str | None = None
    classes: tuple[str, ...] = ()
    class_folders: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    masks: Literal["leave-out", "use"] = "leave-out"
    bad_rows: Literal["stop", "leave-out"] = "stop"
    combined_labels: Literal["stop", "keep"] = "stop"
    min_class_size: int = Field(default=1, ge=1)

    @model_serializer(mode="wrap")
    def _without_later_settings(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A setting that came later stands in it only where it was set, so that older versions keep their hash."""
        later = {"class_folders", "exclude", "masks", "bad_rows", "combined_labels", "min_class_size"}
        fields = type(self).model_fields
        kept: dict[str, Any] = dump(self)
        return {
            key: value for key, value in kept.items() if key not in later or getattr(self, key) != fields[key].default
        }

    @field_validator("class_folders", "exclude", mode="before")
    @classmethod
    def _of_one_text(cls, given: Any) -> Any:
        """An option gives several as one text: `test,photos`."""
        return tuple(each.strip() for each in given.split(",") if each.strip()) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _names_one_source(self) -> LabelRules:
        of_csv = self.csv or self.path_column or self.label_column
        if self.pattern and of_csv:
            raise ValueError("labels come from a file name pattern or from a CSV: give only one of the two")
        if self.pattern and self.source not in ("auto", "filename"):
            raise ValueError(f"a pattern is for labels from file names, not from {self.source}: leave one of them out")
        if of_csv and self.source not in ("auto", "csv"):
            raise ValueError(f"a CSV and its columns do not fit labels from {self.source}: leave one of them out")
        return self
