"""Ingested data sets in Python: `load_dataset`, and the class that it returns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.data.dataset import dataset as stored
from darkroom.data.figures import count
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.splits.splits import SPLITS
from darkroom.data.task import TaskName
from darkroom.flows.settings import open_workspace

if TYPE_CHECKING:
    import pandas as pd


def load_dataset(reference: str | Path, workspace: str | Path | None = None) -> Dataset:
    """An ingested data set.

    Args:
        reference: A name (newest version), `name@version`, or a path.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.

    Raises:
        InputError: where there is no such data set, or a file differs from what its card lists.
    """
    place = open_workspace(str(workspace) if workspace else None)
    return Dataset(stored.open_dataset(place.find_dataset(str(reference))))


class Dataset:
    """An ingested data set, from `load_dataset`."""

    def __init__(self, dataset: stored.Dataset) -> None:
        """Wrap an opened data set."""
        self._dataset = dataset

    def __repr__(self) -> str:
        card = self._dataset.card
        counts = f"{count(card.num_ok, 'image')}, {count(len(self.labels), 'class', 'classes')}"
        return f"<Dataset {self._dataset.reference}: {counts}>"

    @property
    def name(self) -> str:
        """The data set's name."""
        return self._dataset.card.name

    @property
    def version(self) -> str:
        """The version, a hash of the images and all settings."""
        return self._dataset.card.version

    @property
    def folder(self) -> Path:
        """The folder with `dataset.json`, `manifest.parquet` and `shards/`."""
        return self._dataset.folder

    @property
    def task(self) -> TaskName:
        """`single-label`, or `multi-label`: an image has any number of labels."""
        return self._dataset.card.task

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes; the numbers in `to_tf` are their positions."""
        return self._dataset.card.labels

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of `train`, `validation` and `test` that have images."""
        return tuple(split for split in SPLITS if self._dataset.card.num_images(split))

    @property
    def counts(self) -> pd.DataFrame:
        """Images by class (rows) and split (columns); augmented copies are not counted.

        An image of several labels counts for each of them.
        """
        import pandas as pd

        card = self._dataset.card
        columns = {split: card.class_counts(split) for split in self.splits}
        return pd.DataFrame(columns, index=pd.Index(card.labels, name="label"))

    @property
    def decode_policy(self) -> DecodePolicy:
        """How its images were decoded."""
        return self._dataset.card.policy

    def to_tf(self, split: str, batch_size: int = 32, seed: int | None = None) -> Any:
        """A `tf.data.Dataset` of batches `(uint8[N, H, W, 3], int32[N])`: every image once, the last batch smaller.

        Of a multi-label data set the second is `float32[N, K]`: 1 for each label that an image has, 0 elsewhere.

        Args:
            split: `train`, `validation` or `test`.
            batch_size: Images in a batch.
            seed: Shuffle the images by it; None keeps the order of the shards.

        Raises:
            InputError: where the split is empty.
        """
        from darkroom.data.dataset.input import Shuffle, batches

        return batches(self._dataset, split, batch_size, None if seed is None else Shuffle(seed, epoch=0))

    def to_pandas(self) -> pd.DataFrame:
        """The manifest: one row for each file of the source, used or quarantined, sorted by path.

        Of a multi-label data set the column `labels` holds lists, and `label` the same joined by `|`.
        """
        frame: pd.DataFrame = self._dataset.manifest().to_pandas()
        return frame
