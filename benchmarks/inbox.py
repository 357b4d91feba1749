"""A night of an inbox of a million files of which 200 are new: `python benchmarks/inbox.py`.

The million are made up by the listing, and their rows by this script, so that it needs neither a million files nor a
day of scoring; the 200 are images in a folder. Each stage runs in a process of its own, whose peak memory it gives.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.growth import make_tiny_bundle
from darkroom.data.stores.listing import FileEntry

_ROWS_PER_PART = 1000
_NUM_NEW = 200
_NIGHT = datetime(2026, 11, 28, tzinfo=UTC)
_STAGES = ("table", "derive", "listing", "quiet", "night")


def made_up(num_files: int) -> Iterator[FileEntry]:
    """The listing of files that there are not."""
    for number in range(num_files):
        path = f"{number // 1000:05d}/{number:09d}.png"
        yield FileEntry(path, path, 10_000 + number % 1000, 10**18 + number)


def make_table(place: Path, num_files: int) -> int:
    """Write the rows of those files, as the nights before would have."""
    import pyarrow as pa

    from darkroom.data.images.decoder_fingerprint import decoder
    from darkroom.data.parallel import in_batches
    from darkroom.models.bundle.bundle import open_bundle
    from darkroom.models.inbox.known import stamp_of
    from darkroom.models.prediction_table.inbox_table import with_origin
    from darkroom.models.prediction_table.part_file import PartFacts, write_part
    from darkroom.models.prediction_table.schema import SCHEMA

    bundle = open_bundle(place / "bundle")
    for index, part in enumerate(in_batches(made_up(num_files), _ROWS_PER_PART)):
        paths = [entry.path for entry in part]
        columns = {
            "path": paths,
            "sha256": [hashlib.sha256(path.encode()).hexdigest() for path in paths],
            "status": ["ok"] * len(part),
            "label": ["cats"] * len(part),
            "confidence": [0.9] * len(part),
            "abstained": [False] * len(part),
        }
        rows = pa.table(
            [pa.array(columns.get(field.name, [None] * len(part)), field.type) for field in SCHEMA], schema=SCHEMA
        )
        facts = PartFacts(
            folder=str((place / "inbox").resolve()), bundle=bundle.reference, precision="fp32", engine="fp32",
            embedding_size=None, decode_policy=bundle.card.policy, decoder=decoder(), first_row=0, num_rows=len(part),
            rows_key="", part_key="", stamps=tuple(stamp_of(entry) for entry in part),
        )  # fmt: skip
        name = f"night=2026-{1 + index % 11:02d}-01/part-{index:05d}.parquet"
        write_part(place / "table" / name, with_origin(rows, bundle.reference, _NIGHT), facts, place / "work")
    return num_files


def list_only(place: Path, num_files: int) -> int:
    """What making up the listing takes by itself."""
    return sum(1 for _ in made_up(num_files))


def run_night(place: Path, num_files: int) -> int:
    """A run over the listing of all files and those in the folder."""
    from darkroom.data.stores.folders import LocalFolder
    from darkroom.models.inbox.request import InboxRequest
    from darkroom.models.inbox.score import score_inbox
    from darkroom.models.prediction_table.output import TableOutput
    from darkroom.models.scoring.request import ScoreRequest

    real = LocalFolder.scan_files

    def scan(self: LocalFolder) -> Iterator[FileEntry]:
        yield from made_up(num_files)
        yield from real(self)

    asked = ScoreRequest(place / "inbox", place / "bundle", TableOutput(place / "table"), precision="fp32")
    with patch.object(LocalFolder, "scan_files", scan):
        return score_inbox(InboxRequest(asked, datetime.now(UTC), settle_seconds=0)).num_new


def fill(folder: Path) -> None:
    """The 200 new images."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for number in range(_NUM_NEW):
        Image.fromarray(random.integers(0, 256, (160, 160, 3), np.uint8)).save(folder / f"new-{number}.png")


def main() -> None:
    """Run the stages and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--stage", choices=_STAGES)
    parser.add_argument("--place", type=Path)
    given = parser.parse_args()
    if given.stage:
        work = {"table": make_table, "listing": list_only}.get(given.stage, run_night)
        started = time.monotonic()
        number = work(given.place, given.files)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps([number, round(time.monotonic() - started, 1), peak]))
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "inbox").mkdir()
        make_tiny_bundle(place / "bundle")
        print("| stage | files | new rows | seconds | peak MiB |\n|---|---|---|---|---|")
        for stage in _STAGES:
            if stage == "night":
                fill(place / "inbox")
            command = [sys.executable, __file__, "--stage", stage, "--place", folder, "--files", str(given.files)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            number, seconds, peak = json.loads(done.stdout.splitlines()[-1])
            new = number if stage in ("derive", "quiet", "night") else ""
            print(f"| {stage} | {given.files:,} | {new} | {seconds} | {peak:,} |", flush=True)


if __name__ == "__main__":
    main()
