"""The plan of a scoring: the files of a folder in the order of the table, and what is to score them.

`plan.parquet` lists the files, a row group a part; `plan.json` beside it says the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from darkroom.data.errors import InputError, SettingError
from darkroom.data.files.atomic import atomic_file, content_version, write_json
from darkroom.data.files.listing import FileEntry
from darkroom.data.files.parallel import in_batches
from darkroom.data.images.decoder import Decoder, decoder, settle_mismatch
from darkroom.data.settings import DecoderMismatch
from darkroom.data.stores.folders import image_folder
from darkroom.data.stores.storage import Url
from darkroom.data.stores.workspace import SUMMARY_CARD
from darkroom.models.bundle.bundle import Bundle, check_decoder
from darkroom.models.bundle.runtime import Engine
from darkroom.models.scoring.known_rows import keep_known_rows, whole_parts
from darkroom.models.scoring.schema import EMBEDDING, SCHEMA, is_part, work_folder

CODE_VERSION = 2
_PLAN_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("os_path", pa.binary()),
        ("bytes", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("reason", pa.string()),
        ("etag", pa.string()),
    ]
)


class ScorePlan(BaseModel):
    """What is to be scored, and how; the files stand in `plan.parquet` beside it.

    Attributes:
        engine: What runs the network, in every part.
        embedding_size: Numbers of an embedding; None where the table has none.
        decoder: Of the images; None in a plan of an earlier Darkroom.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    bundle: str
    num_files: int
    rows_per_part: int
    engine: Engine = "fp32"
    embedding_size: int | None = None
    decoder: Decoder | None = None

    @property
    def num_parts(self) -> int:
        return -(-self.num_files // self.rows_per_part)

    @property
    def schema(self) -> pa.Schema:
        """Of the table."""
        if self.embedding_size is None:
            return SCHEMA
        return SCHEMA.append(pa.field(EMBEDDING, pa.list_(pa.float32(), self.embedding_size)))


def check_places(folder: Path | Url, out: Path) -> None:
    """Refuse what cannot be scored or written to, before anything is made there.

    Args:
        folder: What is to be scored.
        out: Where the table is made.

    Raises:
        SourceError: where `folder` is no folder.
        InputError: where `out` is inside it, or holds a table of another program, whose parts would be taken for stale
            ones of ours.
    """
    image_folder(folder).check()
    if isinstance(folder, Path) and out.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"The output {out} lies inside the scored folder {folder}. Choose another with --out.")
    if out.exists() and not out.is_dir():
        raise InputError(f"The output {out} is a file. Give a folder with --out.")
    if out.is_dir() and not (work_folder(out) / "plan.json").is_file():
        foreign = sorted(path.name for path in out.iterdir() if is_part(path.name) or path.name == SUMMARY_CARD)
        if foreign:
            raise InputError(
                f"The output {out} holds {foreign[0]}, which Darkroom did not write there. Nothing was changed: choose "
                "another folder with --out."
            )


def plan_scoring(
    folder: Path | Url,
    bundle: Bundle,
    out: Path,
    rows_per_part: int,
    only: Sequence[str] | None = None,
    retry_quarantined: bool = False,
    engine: Engine = "fp32",
    embeddings: bool = False,
    decoder_mismatch: DecoderMismatch = "warn",
) -> ScorePlan:
    """List the files of a folder and write the plan.

    Args:
        folder: The folder to score.
        bundle: What scores it.
        out: Where the table goes; made, or one that holds nothing but an earlier table.
        rows_per_part: Files in one part.
        only: Paths to be scored, as `darkroom.data.files.listing` prints them; None scores all.
        retry_quarantined: Try files again that an earlier run set aside, though they look unchanged.
        engine: What runs the network: see `Bundle.engine`.
        embeddings: Add the column `embedding`, the input of the network's last dense layer.
        decoder_mismatch: What happens where the bundle was trained on another decoder's images, or where the table that
            lies in `out` holds rows of them: `warn` scores all the same, and those rows again; `strict` refuses.

    Raises:
        SettingError: where `rows_per_part` is below 1, or the network gives no embeddings and they are asked for.
        InputError: where the folder has no files, or `out` is inside it or holds a table that is not ours, or, with
            `strict`, a decoder is another one.
    """
    if rows_per_part < 1:
        raise SettingError(f"A part of the table holds one row or more; received rows_per_part = {rows_per_part}.")
    if embeddings and bundle.card.embedding_size is None:
        raise SettingError(
            f"{bundle.reference} gives no embeddings: its network has no dense layer at its end, or was exported "
            "before there were any. Train again, or score without --embeddings."
        )
    check_places(folder, out)
    check_decoder(bundle, decoder(), decoder_mismatch)
    images = image_folder(folder)
    entries = images.iter_files()
    if only is not None:
        wanted = frozenset(only)
        found = [entry for entry in entries if entry.path in wanted]
        if len(found) != len(wanted):
            raise InputError(f"{len(wanted) - len(found)} of {len(wanted)} files are no longer in {folder}.")
        entries = iter(found)
    first = next(entries, None)
    if first is None:
        raise InputError(f"{folder} holds no files. Give the folder that holds the images.")
    with atomic_file(work_folder(out) / "plan.parquet") as listed:
        plan = ScorePlan(
            folder=images.reference,
            bundle=bundle.reference,
            num_files=_write_plan(listed, chain([first], entries), rows_per_part),
            rows_per_part=rows_per_part,
            engine=engine,
            embedding_size=bundle.card.embedding_size if embeddings else None,
            decoder=decoder(),
        )
        _check_earlier_rows(out, plan, decoder_mismatch)
        (out / SUMMARY_CARD).unlink(missing_ok=True)  # the table is not whole again until it is written anew
        _keep_rows(out, bundle, plan, listed, retry_quarantined)
    write_json(work_folder(out) / "plan.json", plan.model_dump(mode="json"))
    return plan


def read_plan(out: Path) -> ScorePlan:
    """The plan that `plan_scoring` wrote."""
    return ScorePlan.model_validate_json((work_folder(out) / "plan.json").read_text(encoding="utf-8"))


def bundle_key_of(bundle: Bundle, plan: ScorePlan) -> str:
    """What every row of a table depends on, besides its file."""
    card = bundle.card.model_dump(mode="json", exclude={"decoder"})  # of its training images, not of those scored
    pixels = [plan.decoder.fingerprint] if plan.decoder else []  # none: as an earlier Darkroom wrote it
    return content_version(CODE_VERSION, card, plan.folder, plan.engine, plan.embedding_size, *pixels)


def _write_plan(path: Path, entries: Iterable[FileEntry], rows_per_part: int) -> int:
    """Write the files down as they are listed; how many they are.

    A row group is a part, so that a part reads its own rows and not those of all the others.
    """
    num_files = 0
    with pq.ParquetWriter(path, _PLAN_SCHEMA, compression="zstd") as writer:
        for part in in_batches(entries, rows_per_part):
            writer.write_table(_plan_table(part), row_group_size=len(part))
            num_files += len(part)
    return num_files


def _plan_table(entries: Sequence[FileEntry]) -> pa.Table:
    columns = [
        [entry.path for entry in entries],
        [os.fsencode(entry.os_path) for entry in entries],
        [entry.size_bytes for entry in entries],
        [entry.mtime_ns for entry in entries],
        [entry.reason for entry in entries],
        [entry.etag for entry in entries],
    ]
    return pa.table(columns, schema=_PLAN_SCHEMA)


def _check_earlier_rows(out: Path, plan: ScorePlan, rule: DecoderMismatch) -> None:
    """Say so, or refuse, where the rows of the table that lies there are of another decoder: none of them is kept."""
    try:
        earlier = read_plan(out)
    except (OSError, ValueError):
        return
    if (earlier.folder, earlier.bundle) == (plan.folder, plan.bundle):
        settle_mismatch(
            f"The images of the table in {out} were",
            earlier.decoder,
            plan.decoder,
            rule,
            "all of its rows are scored again",
        )


def _keep_rows(out: Path, bundle: Bundle, plan: ScorePlan, listed: Path, retry_quarantined: bool) -> None:
    """Keep the rows of the table that lies there, as far as it is of this bundle and folder, for the parts to come.

    Where the same files are listed in the same parts, those parts are kept as they are, and nothing is done here.
    """
    before, bundle_key = work_folder(out) / "plan.parquet", bundle_key_of(bundle, plan)
    if not before.is_file() or pq.read_schema(before).names != _PLAN_SCHEMA.names:  # of an earlier Darkroom
        return
    with pq.ParquetFile(before) as file, pq.ParquetFile(listed) as now:
        if retry_quarantined or not _same_parts(file, now):
            keep_known_rows(work_folder(out), whole_parts(out, file, bundle_key, retry_quarantined), bundle_key)


def _same_parts(one: pq.ParquetFile, other: pq.ParquetFile) -> bool:
    num_groups = one.num_row_groups
    return num_groups == other.num_row_groups and all(
        one.read_row_group(index).equals(other.read_row_group(index)) for index in range(num_groups)
    )
