"""Scoring a folder: a plan, parts of a prediction table, a summary.

`<out>/part-00000.parquet …` hold `SCHEMA`, and the column `embedding` where it was asked for, sorted by path;
`summary.json` is written last and lists them. Work in progress lies in `<out>/.scoring/`: `plan.parquet` and, for each
finished part, `part-00000.json` with the key of what it was made from, by which a rerun knows that it need not be made
again.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from data.atomic import atomic_file, content_version, file_sha256, write_json
from data.dataset import FileFact, check_file, read_card
from data.errors import CountError, InputError, SettingError
from data.folders import folder_at, image_folder
from data.listing import FileEntry
from data.manifest import OK, QUARANTINED, read_group, write_table
from data.parallel import in_batches
from data.storage import Url
from data.workspace import SUMMARY_CARD
from models.bundle import Bundle, open_bundle
from models.known_rows import FACTS, forget_known_rows, keep_known_rows, known_rows
from models.runtime import Engine, Runner
from models.score_rows import EMBEDDING, score_rows

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
CODE_VERSION = 2
WORK_FOLDER = ".scoring"
_PART = re.compile(r"part-\d+\.parquet")

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("label", pa.string()),
        ("confidence", pa.float32()),
        ("abstained", pa.bool_()),
        ("top_k", pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float32())]))),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)
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
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    bundle: str
    num_files: int
    rows_per_part: int
    engine: Engine = "fp32"
    embedding_size: int | None = None

    @property
    def num_parts(self) -> int:
        return -(-self.num_files // self.rows_per_part)

    @property
    def schema(self) -> pa.Schema:
        """Of the table."""
        if self.embedding_size is None:
            return SCHEMA
        return SCHEMA.append(pa.field(EMBEDDING, pa.list_(pa.float32(), self.embedding_size)))


class NamedCount(BaseModel):
    """A number of rows under a status, a label or a reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    num_rows: int


class ScoreSummary(BaseModel):
    """`summary.json`: the facts of one run. Only what the rows themselves say is free of time.

    Attributes:
        precision: Of the network that scored: `fp32` or `int8`.
        engine: What ran it, see `models.runtime`.
        embedding_size: Numbers in the column `embedding`; None where there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    folder: str
    bundle: str
    precision: Literal["fp32", "int8"] = "fp32"
    engine: Engine = "fp32"
    embedding_size: int | None = None
    num_files: int
    statuses: tuple[NamedCount, ...]
    labels: tuple[NamedCount, ...]
    reasons: tuple[NamedCount, ...]
    num_abstained: int
    parts: tuple[FileFact, ...]
    rows_reused: int
    started_at: str
    seconds: float
    images_per_second: float
    run_id: str | None


@dataclass(frozen=True)
class PartDone:
    """A part: its rows, and how many of them an earlier run had made."""

    index: int
    num_rows: int
    num_reused: int


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
    if out.is_dir() and not (_work(out) / "plan.json").is_file():
        foreign = sorted(path.name for path in out.iterdir() if _PART.fullmatch(path.name) or path.name == SUMMARY_CARD)
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
) -> ScorePlan:
    """List the files of a folder and write the plan.

    Args:
        folder: The folder to score.
        bundle: What scores it.
        out: Where the table goes; made, or one that holds nothing but an earlier table.
        rows_per_part: Files in one part.
        only: Paths to be scored, as `data.listing` prints them; None scores all.
        retry_quarantined: Try files again that an earlier run set aside, though they look unchanged.
        engine: What runs the network: see `Bundle.engine`.
        embeddings: Add the column `embedding`, the input of the network's last dense layer.

    Raises:
        SettingError: where `rows_per_part` is below 1, or the network gives no embeddings and they are asked for.
        InputError: where the folder has no files, or `out` is inside it or holds a table that is not ours.
    """
    if rows_per_part < 1:
        raise SettingError(f"A part of the table holds one row or more; received rows_per_part = {rows_per_part}.")
    if embeddings and bundle.card.embedding_size is None:
        raise SettingError(
            f"{bundle.reference} gives no embeddings: its network has no dense layer at its end, or was exported "
            "before there were any. Train again, or score without --embeddings."
        )
    check_places(folder, out)
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
    with atomic_file(_work(out) / "plan.parquet") as listed:
        plan = ScorePlan(
            folder=images.reference,
            bundle=bundle.reference,
            num_files=_write_plan(listed, chain([first], entries), rows_per_part),
            rows_per_part=rows_per_part,
            engine=engine,
            embedding_size=bundle.card.embedding_size if embeddings else None,
        )
        (out / SUMMARY_CARD).unlink(missing_ok=True)  # the table is not whole again until it is written anew
        _keep_rows(out, bundle, plan, listed, retry_quarantined)
    write_json(_work(out) / "plan.json", plan.model_dump(mode="json"))
    return plan


def read_plan(out: Path) -> ScorePlan:
    """The plan that `plan_scoring` wrote."""
    return ScorePlan.model_validate_json((_work(out) / "plan.json").read_text(encoding="utf-8"))


def part_name(index: int) -> str:
    """`part-00000.parquet`: rows from `index * rows_per_part` on."""
    return f"part-{index:05d}.parquet"


def note_name(index: int) -> str:
    """`.scoring/part-00000.json`: what that part was made from."""
    return f"{WORK_FOLDER}/part-{index:05d}.json"


def score_part(out: Path, index: int, runner: Runner, bundle: Bundle, num_threads: int | None = None) -> PartDone:
    """Score the files of one part and write it; a whole part of the same files and bundle is kept, and so are rows.

    Args:
        out: Where the plan lies.
        index: Of the part.
        runner: The network, run by the engine that the plan names.
        bundle: The one of the plan.
        num_threads: None takes all processors; whatever it is, the bytes are the same.
    """
    plan = read_plan(out)
    files = read_group(_work(out) / "plan.parquet", index).to_pylist()
    bundle_key = _bundle_key(bundle, plan)
    key = _part_key(bundle_key, files)
    final, note = out / part_name(index), _note(out, index)
    if _is_done(final, note, key):
        return PartDone(index, len(files), len(files))
    known = known_rows(_work(out), files, bundle_key)
    unknown = [file for file in files if file["path"] not in known]
    embeddings = plan.embedding_size is not None
    scored = score_rows(unknown, folder_at(plan.folder), runner, bundle, num_threads, embeddings)
    rows = [known.get(file["path"]) or next(scored) for file in files]
    if len(rows) != len(files):
        raise CountError(f"Part {index} of {plan.folder} has {len(files)} files and {len(rows)} rows.")
    write_table(final, _table(rows, plan), plain=EMBEDDING if embeddings else None)
    write_json(note, {"key": key, "sha256": file_sha256(final)})
    return PartDone(index, len(files), len(known))


def summarize(out: Path, rows_reused: int, started_at: str, seconds: float, run_id: str | None) -> ScoreSummary:
    """Count the rows of all parts, remove parts of a longer earlier table, write `summary.json`.

    Raises:
        CountError: where the rows are not as many as the files.
    """
    plan = read_plan(out)
    names = [part_name(index) for index in range(plan.num_parts)]
    for stale in {path.name for path in out.iterdir() if _PART.fullmatch(path.name)} - set(names):
        (out / stale).unlink()
        (_work(out) / f"{Path(stale).stem}.json").unlink(missing_ok=True)
    counts: dict[str, Counter[str]] = {column: Counter() for column in ("status", "label", "reason")}
    num_abstained = 0
    for name in names:
        table = pq.read_table(out / name, columns=["status", "label", "reason", "abstained"])
        for column, counter in counts.items():
            counter.update(value for value in table[column].to_pylist() if value is not None)
        num_abstained += sum(1 for value in table["abstained"].to_pylist() if value)
    total = sum(counts["status"].values())
    if total != plan.num_files:
        raise CountError(f"{plan.num_files} files of {plan.folder} were planned and {total} rows written.")
    summary = ScoreSummary(
        folder=plan.folder,
        bundle=plan.bundle,
        precision="int8" if plan.engine == "int8" else "fp32",
        engine=plan.engine,
        embedding_size=plan.embedding_size,
        num_files=plan.num_files,
        statuses=_named(counts["status"]),
        labels=_named(counts["label"]),
        reasons=_named(counts["reason"]),
        num_abstained=num_abstained,
        parts=tuple(FileFact.of(out, name) for name in names),
        rows_reused=rows_reused,
        started_at=started_at,
        seconds=round(seconds, 3),
        images_per_second=round(plan.num_files / max(seconds, 1e-9), 1),
        run_id=run_id,
    )
    write_json(out / SUMMARY_CARD, summary.model_dump(mode="json"))
    forget_known_rows(_work(out))
    set_aside = plan.num_files - counts["status"][OK]
    logger.info(
        "%s: %d files scored in %.1f s, %d of them by an earlier run, %d of them set aside.",
        plan.folder, total, seconds, rows_reused, set_aside,
    )  # fmt: skip
    return summary


def read_summary(out: Path) -> ScoreSummary:
    """The summary of a finished table; raises FormatError where it is missing or a part is not as it lists it."""
    summary = read_card(out / SUMMARY_CARD, ScoreSummary, SCHEMA_VERSION)
    for part in summary.parts:
        check_file(out, part)
    return summary


def open_runner(bundle_folder: Path, engine: Engine = "fp32") -> tuple[Runner, Bundle]:
    """A checked bundle and its network, ready to be run by each of several threads for itself."""
    bundle = open_bundle(bundle_folder)
    return bundle.runner(engine, num_threads=1), bundle


def _table(rows: list[dict[str, Any]], plan: ScorePlan) -> pa.Table:
    """Rows as a table; embeddings are arrays and go in as one, not number by number."""
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    if plan.embedding_size is None:
        return table
    given = [row.get(EMBEDDING) for row in rows]
    nothing = np.zeros(plan.embedding_size, np.float32)
    vectors = np.stack([nothing if vector is None else np.asarray(vector, np.float32) for vector in given])
    missing = pa.array([vector is None for vector in given])
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), plan.embedding_size, mask=missing)
    return table.append_column(plan.schema.field(EMBEDDING), column)


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


def _keep_rows(out: Path, bundle: Bundle, plan: ScorePlan, listed: Path, retry_quarantined: bool) -> None:
    """Keep the rows of the table that lies there, as far as it is of this bundle and folder, for the parts to come.

    Where the same files are listed in the same parts, those parts are kept as they are, and nothing is done here.
    """
    before, bundle_key = _work(out) / "plan.parquet", _bundle_key(bundle, plan)
    if not before.is_file() or pq.read_schema(before).names != _PLAN_SCHEMA.names:  # of an earlier Darkroom
        return
    with pq.ParquetFile(before) as file, pq.ParquetFile(listed) as now:
        if retry_quarantined or not _same_parts(file, now):
            keep_known_rows(_work(out), _whole_parts(out, file, bundle_key, retry_quarantined), bundle_key)


def _same_parts(one: pq.ParquetFile, other: pq.ParquetFile) -> bool:
    num_groups = one.num_row_groups
    return num_groups == other.num_row_groups and all(
        one.read_row_group(index).equals(other.read_row_group(index)) for index in range(num_groups)
    )


def _whole_parts(out: Path, listed: pq.ParquetFile, bundle_key: str, retry_quarantined: bool) -> Iterator[pa.Table]:
    """The rows of each whole part of a plan, with the facts of their files; to be retried, without those set aside."""
    for index in range(listed.num_row_groups):
        files = listed.read_row_group(index)
        if not _is_done(out / part_name(index), _note(out, index), _part_key(bundle_key, files.to_pylist())):
            continue
        rows = pq.read_table(out / part_name(index))
        for fact in FACTS:
            rows = rows.append_column(fact, files[fact])
        if retry_quarantined and QUARANTINED in rows["status"].to_pylist():
            rows = rows.filter(pc.equal(rows["status"], OK))
            _note(out, index).unlink()
        yield rows


def _bundle_key(bundle: Bundle, plan: ScorePlan) -> str:
    """What every row of a table depends on, besides its file."""
    card = bundle.card.model_dump(mode="json")
    return content_version(CODE_VERSION, card, plan.folder, plan.engine, plan.embedding_size)


def _part_key(bundle_key: str, files: list[dict[str, Any]]) -> str:
    return content_version(bundle_key, [[file[fact] for fact in ("path", *FACTS, "reason")] for file in files])


def _note(out: Path, index: int) -> Path:
    """Where it is written what a part was made from."""
    return out / note_name(index)


def _is_done(final: Path, note: Path, key: str) -> bool:
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        return bool(known["key"] == key and known["sha256"] == file_sha256(final))
    except (OSError, ValueError, KeyError):
        return False


def _named(counter: Counter[str]) -> tuple[NamedCount, ...]:
    return tuple(NamedCount(name=name, num_rows=counter[name]) for name in sorted(counter))


def _work(out: Path) -> Path:
    return out / WORK_FOLDER
