"""Samples: small real data sets that need no network and no account, written out as image files.

`sources/sample-digits-v1/`
    images/<digit>/digit-00000.png …    to train and test on, one folder per class
    new/digit-00003.png …               kept back, unlabelled, to be scored
    new-labels.csv                      `path,label` of those in new/
"""

from __future__ import annotations

import csv
import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from darkroom.data.errors import SourceError
from darkroom.data.files.atomic import atomic_folder
from darkroom.data.files.locks import exclusive

logger = logging.getLogger(__name__)

_NUM_NEW_PER_DIGIT = 10


@dataclass(frozen=True)
class Sample:
    """A sample's name, where it comes from, and how it is written.

    Attributes:
        name: As in `sample:NAME`.
        key: Its folder in the workspace's `sources`; a new one whenever what is written changes.
        licence: Of the images.
        citation: Whom to cite.
        write: Writes `images/`, `new/` and `new-labels.csv` into the folder that it is given.
    """

    name: str
    key: str
    licence: str
    citation: str
    write: Callable[[Path], None]


def find_sample(name: str) -> Sample:
    """The sample of a name, as in `sample:NAME`.

    Raises:
        SourceError: where there is none; the message lists the samples.
    """
    try:
        return SAMPLES[name]
    except KeyError:
        known = ", ".join(f"sample:{known}" for known in sorted(SAMPLES))
        raise SourceError(f"There is no sample {name!r}. The samples are: {known}.") from None


def make_sample(sample: Sample, workspace_sources: Path) -> Path:
    """Write a sample, or find it written by an earlier run; returns its absolute folder.

    Args:
        sample: What to write.
        workspace_sources: The workspace's `sources` folder; created where it is missing.
    """
    folder = Path(os.path.abspath(workspace_sources)) / sample.key
    if folder.is_dir():
        logger.info("sample:%s is already written: %s", sample.name, folder)
        return folder
    with exclusive(folder.parent):
        if folder.is_dir():  # written by the run that this one has waited for
            return folder
        with atomic_folder(folder) as temporary:
            sample.write(temporary)
    logger.info("Wrote sample:%s to %s", sample.name, folder)
    return folder


def _write_digits(folder: Path) -> None:
    """scikit-learn's 1,797 scans of 8 x 8 as greyscale PNG; values 0 to 16 become 0 to 255, rounded.

    Kept back are the ten scans of each digit whose pixels have the lowest sha256: a choice that looks random, and is
    the same everywhere.
    """
    from sklearn.datasets import load_digits  # 1 s to import, needed once

    digits = load_digits()
    scans = np.rint(digits.images * 255 / 16).astype(np.uint8)
    order = sorted(range(len(scans)), key=lambda index: (hashlib.sha256(scans[index].tobytes()).digest(), index))
    new: set[int] = set()
    for digit in range(10):
        new.update([index for index in order if digits.target[index] == digit][:_NUM_NEW_PER_DIGIT])
        (folder / "images" / str(digit)).mkdir(parents=True)
    (folder / "new").mkdir()
    with (folder / "new-labels.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(("path", "label"))
        for index, scan in enumerate(scans):
            name, label = f"digit-{index:05d}.png", str(digits.target[index])
            place = folder / "new" if index in new else folder / "images" / label
            Image.fromarray(scan).save(place / name, format="PNG")
            if index in new:
                table.writerow((name, label))


SAMPLES = {
    sample.name: sample
    for sample in (
        Sample(
            name="digits",
            key="sample-digits-v1",
            licence="CC BY 4.0 (UCI, Optical Recognition of Handwritten Digits, Alpaydin & Kaynak 1998)",
            citation=(
                "E. Alpaydin, C. Kaynak (1998). Optical Recognition of Handwritten Digits. UCI Machine Learning "
                "Repository. https://doi.org/10.24432/C50P49"
            ),
            write=_write_digits,
        ),
    )
}
