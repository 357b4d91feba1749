"""The images of a run: its rows counted part by part, and some of its files read once more.

The table holds neither formats, brightness nor embeddings. They are of up to `NUM_READ` images, those with the smallest
hash of their content, which no name and no order of arrival has a say in.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.dataset.manifest import OK
from darkroom.data.errors import ImageError
from darkroom.data.images.decode import Decoded, decode_with_header
from darkroom.data.parallel import in_batches, num_cpus, ordered_map
from darkroom.data.quality.pixel_statistics import pixel_statistics
from darkroom.data.stores.folders import ImageFolder
from darkroom.data.stores.listing import os_path_of
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.scoring.rows import read_contents
from darkroom.models.watching.drift import MAX_VALUES
from darkroom.models.watching.observed import Observed

# Pictures on the page, of the most unfamiliar images and of the least certain ones.
NUM_SHOWN = 12
_COLUMNS = ("path", "sha256", "status", "reason", "label", "labels", "confidence", "abstained", "width", "height",
            "unfamiliarity", "unfamiliar")  # fmt: skip

Row = dict[str, Any]


@dataclass
class Tally:
    """What the rows of a run tell.

    Attributes:
        num_rows: All.
        reasons: Quarantined files by reason.
        labels: Images by label; an image counts for each of its labels.
        num_abstained: Images on which the model abstained.
        num_unfamiliar: Images unlike those of training; None where the table does not say.
        several_labels: Whether an image may have several labels.
        drawn: Rows of up to a thousand images, those with the smallest hash of their content, in that order.
        strangest: Those of the most unfamiliar images, the strangest first.
        least_certain: Those of the lowest confidence, the lowest first.
    """

    num_rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    num_abstained: int = 0
    num_unfamiliar: int | None = None
    several_labels: bool = False
    drawn: list[Row] = field(default_factory=list)
    strangest: list[Row] = field(default_factory=list)
    least_certain: list[Row] = field(default_factory=list)

    def add(self, rows: pa.Table) -> None:
        """Count the rows of a part.

        Args:
            rows: Of a prediction table, with some of its columns.
        """
        self.num_rows += len(rows)
        self.reasons.update(reason for reason in rows["reason"].to_pylist() if reason is not None)
        self.several_labels = "labels" in rows.column_names
        for given in rows["labels" if self.several_labels else "label"].to_pylist():
            if given is not None:
                self.labels.update(given if isinstance(given, list) else [given])
        self.num_abstained += sum(abstained is True for abstained in rows["abstained"].to_pylist())
        images = rows.filter(pa.array([status == OK for status in rows["status"].to_pylist()], pa.bool_()))
        found = images.to_pylist()
        self.drawn = sorted([*self.drawn, *found], key=lambda row: (row["sha256"], row["path"]))[:MAX_VALUES]
        self.least_certain = sorted([*self.least_certain, *found], key=lambda row: (row["confidence"], row["path"]))
        del self.least_certain[NUM_SHOWN:]
        if "unfamiliarity" in rows.column_names:
            known = [row for row in found if row["unfamiliarity"] is not None]
            self.num_unfamiliar = (self.num_unfamiliar or 0) + sum(row["unfamiliar"] is True for row in known)
            every = [*self.strangest, *known]
            self.strangest = sorted(every, key=lambda row: (-row["unfamiliarity"], row["path"]))[:NUM_SHOWN]

    def observed(self) -> Observed:
        """The images as far as the table tells."""
        known = [row["unfamiliarity"] for row in self.drawn if row.get("unfamiliarity") is not None]
        return Observed(
            labels={} if self.several_labels else dict(self.labels),
            confidences=np.array([row["confidence"] for row in self.drawn]),
            predicted=() if self.several_labels else tuple(row["label"] for row in self.drawn),
            unfamiliarity=np.array(known if len(known) == len(self.drawn) else []),
            widths=np.array([row["width"] for row in self.drawn], np.float64),
            heights=np.array([row["height"] for row in self.drawn], np.float64),
        )


def tally(parts: Iterable[Path]) -> Tally:
    """Count the rows of some parts of a table.

    Args:
        parts: Parquet files.
    """
    found = Tally()
    for path in parts:
        names = pq.read_schema(path).names
        found.add(pq.read_table(path, columns=[name for name in _COLUMNS if name in names], partitioning=None))
    return found


# Of a night: enough for the tests, and few beside the thousands of a large one.
NUM_READ = 200
_BATCH = 16
_SIDE = 128


@dataclass(frozen=True)
class Sample:
    """Facts of the images that were read, in the order of their rows; those that have changed or gone are left out.

    Attributes:
        formats: Of each.
        brightness: `float64[N]`.
        embeddings: `float32[N, D]`, of the network of fp32; `[0, 0]` where it gives none.
    """

    formats: tuple[str, ...]
    brightness: NDArray[np.float64]
    embeddings: NDArray[np.float32]


def read_sample(rows: Sequence[Row], folder: ImageFolder, bundle: Bundle) -> Sample:
    """Read images again.

    Args:
        rows: Theirs, of a prediction table.
        folder: Where they lie.
        bundle: Says how they are decoded; its network gives the embeddings.
    """
    formats: list[str] = []
    brightness: list[float] = []
    embeddings: list[NDArray[np.float32]] = []
    runner = bundle.runner("fp32") if bundle.card.embedding_size else None
    for batch in in_batches(_images(rows, folder, bundle), _BATCH):
        formats += [image.format for _, image in batch]
        brightness += [pixel_statistics(image.pixels, bundle.card.policy).mean_luminance for _, image in batch]
        if runner is not None:
            embeddings.append(runner.with_embeddings(np.stack([image.pixels for _, image in batch]))[1])
    found = np.concatenate(embeddings) if embeddings else np.empty((0, 0), np.float32)
    if not np.isfinite(found).all():
        found = np.empty((0, 0), np.float32)
    return Sample(tuple(formats), np.array(brightness), found)


def pictures(rows: Sequence[Row], folder: ImageFolder, bundle: Bundle) -> list[tuple[Row, bytes]]:
    """Each row whose image is still there, with a PNG of what the network sees.

    Args:
        rows: Of a prediction table.
        folder: Where the images lie.
        bundle: Says how they are decoded.
    """
    found = []
    for row, image in _images(rows, folder, bundle):
        picture = Image.fromarray(image.pixels)
        picture.thumbnail((_SIDE, _SIDE))
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        found.append((row, stream.getvalue()))
    return found


def _images(rows: Sequence[Row], folder: ImageFolder, bundle: Bundle) -> Iterator[tuple[Row, Decoded]]:
    policy = bundle.card.policy

    def read(row: Row) -> tuple[Row, Decoded] | None:
        file = {"path": row["path"], "os_path": os.fsencode(os_path_of(row["path"])), "reason": None}
        contents = read_contents(folder, file, policy)
        # Only what was scored: of other bytes nobody knows that they can be decoded.
        if not isinstance(contents, bytes) or hashlib.sha256(contents).hexdigest() != row["sha256"]:
            return None
        try:
            return row, decode_with_header(contents, policy)
        except ImageError:
            return None

    threads = max(folder.num_readers, num_cpus())
    return (found for found in ordered_map(read, rows, threads, 2 * threads) if found is not None)
