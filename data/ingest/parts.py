"""The parts of an ingest: each reads, decodes and stores its own files, in any order, once.

`parts/00000/` in the staging folder holds a part of the manifest, at most one shard a split, and `thumbnails.npy` to
compare images by. It appears whole or not at all, so a killed run resumes with the missing parts.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from darkroom.data.dataset.duplicate_summary import THUMBNAILS
from darkroom.data.dataset.manifest import (
    DAMAGED,
    FIRST_OF_SEVERAL,
    OK,
    QUARANTINED,
    ManifestRow,
    read_group,
    to_table,
    write_table,
)
from darkroom.data.errors import CountError, ImageError, InputError
from darkroom.data.files.atomic import atomic_folder
from darkroom.data.images.crash_recovery import Decode, watched_decode
from darkroom.data.images.decode import Decoded, decode_with_header, read_header
from darkroom.data.images.decoder_fingerprint import require_decoder
from darkroom.data.images.pixels.augment import augment_copy
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.images.pixels.encode import encode_jpeg, encode_png
from darkroom.data.ingest.plan import IngestPlan, read_plan
from darkroom.data.ingest.reuse import Known, known_files, part_folder, relabelled
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.parallel import in_batches, num_cpus, ordered_map, raise_if_stopped
from darkroom.data.quality.perceptual import SIDE, perceptual_hash, thumbnail
from darkroom.data.quality.pixel_statistics import pixel_statistics
from darkroom.data.reason_codes import ReasonCode
from darkroom.data.shards.records import Record, ShardWriter
from darkroom.data.shards.shard_names import part_shard_name
from darkroom.data.shards.shards import num_records, open_writer
from darkroom.data.stores.listing import read_file

logger = logging.getLogger(__name__)

_BATCH = 16


@dataclass(frozen=True)
class PartCounts:
    """What one part of an ingest did.

    Attributes:
        index: The part, from 0.
        num_files: Its files.
        num_ok: Images used.
        num_known: Files reused from an earlier ingest.
        reused: Whether the part was already complete.
    """

    index: int
    num_files: int
    num_ok: int
    num_known: int
    reused: bool


def write_part(staging: Path, index: int) -> PartCounts:
    """Read, decode and store the files of one part; a complete part is only counted.

    Args:
        staging: The folder of the plan.
        index: The part, from 0.

    Raises:
        CountError: where a shard holds other than the images that the rows say.
        WorkError: where the plan was made with another decoder than the one installed here.
    """
    plan = read_plan(staging)
    final = part_folder(staging, index)
    reused, num_known = final.is_dir(), 0
    if not reused:
        require_decoder(plan.decoder)
        files = read_group(staging / "plan.parquet", index).to_pylist()
        known = _taken_over(plan, known_files(staging.parent, files), files)
        num_known = len(known)
        paths = [file["path"] for file in files]
        with atomic_folder(final) as temporary, watched_decode(staging, index, paths) as decode:
            _write_part(temporary, plan, files, known, decode)
    rows = pq.read_table(final / "manifest.parquet", columns=["status"])["status"].to_pylist()
    return PartCounts(index, len(rows), rows.count(OK), num_known, reused)


def read_moved(staging: Path, index: int, moved: Mapping[str, tuple[str, str]]) -> Iterator[Record]:
    """What the shards of a part are to hold of images that lie in another split than drawn, which are read again.

    Args:
        staging: The folder of the plan.
        index: Of the part.
        moved: By path, the split that an image is to have, and its SHA-256.

    Raises:
        InputError: where a file has changed since its part was written.
    """
    plan = read_plan(staging)
    labels = plan.label_map
    for file in read_group(staging / "plan.parquet", index).to_pylist():
        if file["path"] in moved:
            split, sha256 = moved[file["path"]]
            read = _read(plan, labels, file, _decode_again, split)
            if read.row.sha256 != sha256 or read.row.status != OK:
                raise InputError(f"{file['path']} in {plan.folder} was changed while it was ingested. Ingest again.")
            yield from read.records


def _decode_again(path: str | None, data: bytes, policy: DecodePolicy) -> Decoded:
    """Decode what was decoded before, so that it needs no watching."""
    return decode_with_header(data, policy)


def _taken_over(plan: IngestPlan, known: dict[bytes, Known], files: list[dict[str, Any]]) -> dict[bytes, Known]:
    """Those of the known files that would come out the same, with the label and the place that they have now."""
    labels, taken = plan.label_map, {}
    for file in files:
        each = known.get(file["os_path"])
        if each is None or file["label"] is None or each.row.label is None:
            continue
        if each.row.status == QUARANTINED:
            if not plan.retry_quarantined:
                taken[file["os_path"]] = relabelled(each, file["label"], file["source_split"], None, labels)
            continue
        split = plan.split(file, str(each.row.sha256))
        if plan.settings.copies == 0 or (split == "train") == (each.row.split == "train"):
            taken[file["os_path"]] = relabelled(each, file["label"], file["source_split"], split, labels)
    return taken


def _write_part(
    folder: Path, plan: IngestPlan, files: list[dict[str, Any]], known: dict[bytes, Known], decode: Decode
) -> None:
    settings = plan.settings
    labels = plan.label_map
    threads = num_cpus()
    rows: list[ManifestRow] = []
    thumbnails = np.zeros((len(files), SIDE, SIDE), np.uint8)
    with ExitStack() as stack:
        writers: dict[str, ShardWriter] = {}
        # A few files at a time: to hand each over by itself takes the threads a tenth of their time.
        read = ordered_map(
            lambda batch: [known.get(file["os_path"]) or _read(plan, labels, file, decode) for file in batch],
            in_batches(files, _BATCH),
            threads,
            window=2 * threads,
        )
        for each in chain.from_iterable(read):
            row = each.row
            if each.thumbnail is not None:
                thumbnails[len(rows)] = each.thumbnail
            rows.append(row)
            for record in each.records:
                if row.split not in writers:
                    path = folder / part_shard_name(str(row.split), settings.shards.format)
                    writers[str(row.split)] = stack.enter_context(open_writer(path, settings.shards.format, labels))
                writers[str(row.split)].write(record)
    for split in writers:
        used = sum(row.split == split for row in rows)
        expected = used * (1 + settings.copies) if split == "train" else used
        stored = num_records(folder / part_shard_name(split, settings.shards.format))
        if stored != expected:
            raise CountError(f"A {split} shard of {settings.name} holds {stored} images, not {expected}. Ingest again.")
    packed = io.BytesIO()  # np.save onto a file says of a full disk no more than how many bytes it wrote
    np.save(packed, thumbnails)
    (folder / THUMBNAILS).write_bytes(packed.getbuffer())
    write_table(folder / "manifest.parquet", to_table(rows))


def _read(plan: IngestPlan, labels: LabelMap, file: dict[str, Any], decode: Decode, split: str | None = None) -> Known:
    """One file's row and, if it is used, its thumbnail and the image with its copies; `split` None draws it."""
    raise_if_stopped()
    settings = plan.settings
    data: bytes | None = None
    try:
        if file["reason"]:
            raise ImageError(file["reason"])
        data = read_file(Path(plan.folder), os.fsdecode(file["os_path"]), settings.policy.max_bytes)
        if file["label"] is None:
            raise ImageError("unlabelled")
        decoded = decode(file["path"], data, settings.policy)
    except ImageError as error:
        logger.debug("%s is quarantined: %s", file["path"], error)
        return Known(_quarantined(file, data, error.reason), None, ())
    sha256 = hashlib.sha256(data).hexdigest()
    split = split or plan.split(file, sha256)
    image = Image.fromarray(decoded.pixels)
    small = thumbnail(image)
    row = ManifestRow(
        path=file["path"],
        sha256=sha256,
        bytes=len(data),
        format=decoded.format,
        width=decoded.width,
        height=decoded.height,
        mode=decoded.mode,
        label=file["label"],
        split=split,
        source_split=file["source_split"],
        status=OK,
        reason=None,
        perceptual_hash=perceptual_hash(small),
        remarks=_remarks(decoded),
        **vars(pixel_statistics(decoded.pixels, settings.policy)),
    )
    copies = settings.copies if split == "train" else 0
    changed = (
        augment_copy(decoded.pixels, sha256, copy, settings.seed, settings.augmentation)
        for copy in range(1, copies + 1)
    )
    if settings.shards.images == "jpeg":
        pictures = chain([image], map(Image.fromarray, changed))
        encoded = (encode_jpeg(picture, settings.shards.jpeg_quality) for picture in pictures)
    else:
        encoded = (encode_png(pixels) for pixels in chain([decoded.pixels], changed))
    height, width = settings.policy.image_size
    return Known(
        row,
        small,
        tuple(
            Record(
                encoded=content,
                format=settings.shards.images,
                height=height,
                width=width,
                label=file["label"],
                indices=labels.indices(file["label"]),
                path=file["path"],
                sha256=sha256,
                copy=copy,
            )
            for copy, content in enumerate(encoded)
        ),
    )


def _remarks(decoded: Decoded) -> list[str] | None:
    """What the manifest says of an image besides its figures."""
    found = {FIRST_OF_SEVERAL: decoded.first_of_several, DAMAGED: decoded.num_complaints > 0}
    return [remark for remark, applies in found.items() if applies] or None


def _quarantined(file: dict[str, Any], data: bytes | None, reason: ReasonCode) -> ManifestRow:
    header = read_header(data) if data and reason != "decoder_crashed" else None
    return ManifestRow(
        path=file["path"],
        sha256=hashlib.sha256(data).hexdigest() if data is not None else None,
        bytes=file["bytes"] if data is None else len(data),
        format=header.format if header else None,
        width=header.width if header else None,
        height=header.height if header else None,
        mode=header.mode if header else None,
        label=file["label"],
        split=None,
        source_split=file["source_split"],
        status=QUARANTINED,
        reason=reason,
    )
