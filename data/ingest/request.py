"""What an ingest is asked for: its settings, and the request of one ingest, checked once, when it comes in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from darkroom.data.dataset.duplicate_summary import Leaks
from darkroom.data.images.pixels.augment import AugmentPolicy
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.labels.rules import LabelRules
from darkroom.data.settings import DecoderMismatch, SettingsModel
from darkroom.data.shards.shards import ShardRules
from darkroom.data.sources.resolve import Source
from darkroom.data.splits.splits import SplitRules
from darkroom.data.stores.workspace import Workspace, check_name


class IngestSettings(SettingsModel):
    """All settings of an ingest.

    Raises:
        SettingError: where the name would not be one plain folder.
    """

    name: str = Field(description="Name of the data set")
    labels: LabelRules = Field(default=LabelRules(), description="How labels are found")
    splits: SplitRules = Field(default=SplitRules(), description="How images are split")
    policy: DecodePolicy = Field(default=DecodePolicy(), description="How images are decoded")
    shards: ShardRules = Field(default=ShardRules(), description="How images are stored")
    augmentation: AugmentPolicy = Field(
        default=AugmentPolicy(),
        description="Augmentation of the copies: none, light, standard, strong or scans; in a recipe also a policy",
    )
    copies: int = Field(
        default=0, ge=0, le=100, description="Augmented copies of each training image to write into the shards"
    )
    seed: int = Field(default=0, description="Seed of the copies")
    max_quarantined_share: float = Field(
        default=0.5, ge=0, le=1, description="Fail where more than this share of the labelled images cannot be used"
    )
    leaks: Leaks = Field(
        default="drop",
        description="What to do with training images that duplicate a test or validation image or carry two labels, "
        "and with validation images that duplicate a test image: drop (quarantine them), fail (stop and name "
        "them) or keep (only list them)",
    )

    @field_validator("name")
    @classmethod
    def _one_folder(cls, value: str) -> str:
        return check_name(value)

    @model_validator(mode="after")
    def _copies_differ(self) -> IngestSettings:
        if self.copies and self.augmentation.changes_nothing:
            raise ValueError("`copies` would be the same image again: set `augmentation` too, or no copies")
        return self

    def for_inspection(self) -> IngestSettings:
        """The same, with all images as they are: no augmented copies, nothing quarantined for its content."""
        return self.model_copy(update={"copies": 0, "leaks": "keep"})


@dataclass(frozen=True)
class IngestRequest:
    """A source to ingest, how, and where the data set goes.

    Attributes:
        source: Where the files are.
        settings: Name and rules of the data set.
        workspace: Where it goes.
        retry_quarantined: Read files again that an earlier ingest quarantined, though they look unchanged.
        decoder_mismatch: What happens where the work of an earlier ingest is another decoder's: `warn` decodes all
            files again, so that a data set is always the work of one decoder; `strict` refuses.
    """

    source: Source
    settings: IngestSettings
    workspace: Workspace
    retry_quarantined: bool = False
    decoder_mismatch: DecoderMismatch = "warn"

    @property
    def folder(self) -> Path:
        """The folder of all versions of the data set, and of the work in progress."""
        return self.workspace.datasets / self.settings.name
