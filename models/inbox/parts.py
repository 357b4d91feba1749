"""A part of a run of an inbox: files read and hashed, those of new content scored, and their rows published."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from darkroom.data.dataset.manifest import read_group
from darkroom.data.files.atomic import atomic_file
from darkroom.data.images.crash_recovery import watched_decode
from darkroom.data.images.decoder_fingerprint import require_decoder
from darkroom.data.parallel import num_cpus, ordered_map
from darkroom.data.stores.folders import ImageFolder, WatchedFolder, folder_at
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.inbox.arrivals import NightPlan, read_night_plan
from darkroom.models.inbox.known import Row, content_of, open_known, read_known
from darkroom.models.onnx.runtime import Runner
from darkroom.models.prediction_table.inbox_table import NightTable, with_origin
from darkroom.models.prediction_table.output import TableOutput
from darkroom.models.prediction_table.part_file import PartFacts, part_key, stamp, write_part
from darkroom.models.prediction_table.schema import EMBEDDING, UNFAMILIAR, as_table
from darkroom.models.scoring.parts import PartDone, profile_of
from darkroom.models.scoring.plan import rows_key
from darkroom.models.scoring.rows import Contents, Scorer, read_contents, score_contents

_READ_AHEAD = 48
_STAMP, _CONTENT = "_stamp", "_content"

_File = dict[str, Any]


@dataclass(frozen=True)
class StagedPart:
    """What a worker made of the files of a part; its rows lie in the work folder.

    Attributes:
        done: The part; its reused rows are files of a content that has a row.
        known: Stamp and content of each of those.
        waiting: Stamps of files that were being written.
        num_gone: Files that were no longer there.
    """

    done: PartDone
    known: tuple[tuple[str, bytes], ...]
    waiting: tuple[str, ...]
    num_gone: int


@dataclass(frozen=True)
class PublishedPart:
    """What a part added to the table.

    Attributes:
        done: The part, with the rows that were published.
        name: Its file, relative to the table; None where it had no new row.
        counts: Of these rows, by value, for each of the columns `status`, `reason` and `label`.
        num_abstained: Those below the model's threshold.
        num_unfamiliar: Those of unfamiliar images; None where the model does not tell.
        num_known: Files of a content that has a row.
        num_waiting: Files that were being written.
        num_gone: Files that were no longer there.
    """

    done: PartDone
    name: str | None
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    num_abstained: int = 0
    num_unfamiliar: int | None = None
    num_known: int = 0
    num_waiting: int = 0
    num_gone: int = 0


def stage_part(out: Path, index: int, runner: Runner, bundle: Bundle) -> StagedPart:
    """Read the files of a part, and score those of new content.

    Args:
        out: The table's folder, for which there is a plan.
        index: The part, from 0.
        runner: The network, run by the engine that the plan names.
        bundle: The plan's.

    Raises:
        WorkError: where the plan was made with another decoder than the installed one.
    """
    table = NightTable(TableOutput(out))
    plan = read_night_plan(table)
    files = read_group(table.paths.planned_files, index).to_pylist()
    folder = folder_at(plan.score.folder)
    require_decoder(plan.score.decoder)
    began = time.time()
    taken: list[tuple[_File, bytes]] = []
    known: list[tuple[str, bytes]] = []

    def new_contents() -> Iterator[tuple[str, Contents]]:
        seen = set()
        with read_known(table) as database:
            for file, contents in _read_all(folder, files, bundle):
                content = _content(file, contents)
                if content in seen or database.has(content, plan.counted_model):
                    known.append((stamp(file), content))
                    continue
                seen.add(content)
                taken.append((file, content))
                yield file["path"], contents

    embeddings, profile = plan.score.embedding_size is not None, profile_of(bundle, plan.score)
    with watched_decode(table.paths.work, index, [file["path"] for file in files]) as decode:
        scorer = Scorer(runner, bundle, None, embeddings, decode, profile=profile, engine=plan.score.engine)
        rows = list(score_contents(new_contents(), lambda named: named, scorer))
    states = [_state(folder, file, row["reason"], plan) for (file, _), row in zip(taken, rows, strict=True)]
    kept = [(file, content, row) for (file, content), row, state in zip(taken, rows, states, strict=True) if not state]
    scored = [row for _, _, row in kept]
    made = as_table(scored, plan.score.embedding_size, bundle.several_labels, profile is not None)
    made = made.append_column(_STAMP, pa.array([stamp(file) for file, _, _ in kept], pa.string()))
    made = made.append_column(_CONTENT, pa.array([content for _, content, _ in kept], pa.binary()))
    with atomic_file(table.staged(index)) as temporary:
        pq.write_table(made, temporary)
    return StagedPart(
        PartDone(index, len(files), len(files) - len(kept), began, time.time()),
        tuple(known),
        tuple(stamp(file) for (file, _), state in zip(taken, states, strict=True) if state == "waiting"),
        states.count("gone"),
    )


def publish_part(table: NightTable, plan: NightPlan, bundle: Bundle, part: StagedPart) -> PublishedPart:
    """Put the rows of a part into the table, but for those that an earlier part of the run had as well.

    The part appears whole, and only then is it remembered: a run that is killed between the two leaves a part from
    which the next one learns.

    Args:
        table: The table.
        plan: The run's.
        bundle: What made the rows.
        part: The part.
    """
    staged = table.staged(part.done.index)
    rows, name = pq.read_table(staged), None
    with open_known(table) as known:
        contents = rows[_CONTENT].to_pylist()
        is_new = [not known.has(content, plan.counted_model) for content in contents]
        again = [
            pair
            for pair, new in zip(zip(rows[_STAMP].to_pylist(), contents, strict=True), is_new, strict=True)
            if not new
        ]
        rows = rows.filter(pa.array(is_new, pa.bool_()))
        if len(rows):
            name = table.next_part(plan.night)
            stamps = tuple(rows[_STAMP].to_pylist())
            _write(table, name, plan, bundle, rows)
            table.share()
            reasons = rows["reason"].to_pylist()
            remembered = [Row(*each) for each in zip(stamps, rows[_CONTENT].to_pylist(), reasons, strict=True)]
            known.add_part(name, table.out.folder / name, plan.score.bundle, remembered)
        known.add_files([*part.known, *again])
        for each in part.waiting:
            known.waiting_since(each, plan.started_ns)
        known.commit()
    staged.unlink()
    done = part.done
    return PublishedPart(
        PartDone(done.index, done.num_rows, done.num_rows - len(rows), done.began, done.ended),
        name,
        _counted(rows),
        pc.sum(rows["abstained"]).as_py() or 0,
        (pc.sum(rows[UNFAMILIAR]).as_py() or 0) if UNFAMILIAR in rows.column_names else None,
        len(part.known) + len(again),
        len(part.waiting),
        part.num_gone,
    )


def _read_all(folder: ImageFolder, files: list[_File], bundle: Bundle) -> Iterator[tuple[_File, Contents]]:
    """Each file with its bytes, in their order; a few are read ahead."""
    threads = folder.num_readers or num_cpus()
    policy = bundle.card.policy
    return ordered_map(lambda file: (file, read_contents(folder, file, policy)), files, threads, threads + _READ_AHEAD)


def _content(file: _File, contents: Contents) -> bytes:
    if isinstance(contents, bytes):
        return hashlib.sha256(contents).digest()
    return content_of(None, file["path"], getattr(contents, "reason", None))


def _state(folder: WatchedFolder, file: _File, reason: str | None, plan: NightPlan) -> str | None:
    """`gone` or `waiting` of a file whose row is not to be published; None of others.

    One that was changed since it was listed is being written, and so is one that is cut short and was touched lately,
    though the time of its content may be old: some copies set that first.
    """
    if file["reason"]:
        return None
    try:
        now = folder.state_of(os.fsdecode(file["os_path"]))
    except OSError:
        return "gone"
    if now is None:
        return None
    if (now.size_bytes, now.mtime_ns) != (file["bytes"], file["mtime_ns"]):
        return "waiting"
    lately = plan.settle_ns > 0 and plan.started_ns - now.touched_ns < plan.settle_ns
    return "waiting" if reason == "truncated" and lately else None


def _write(table: NightTable, name: str, plan: NightPlan, bundle: Bundle, rows: pa.Table) -> None:
    score, stamps = plan.score, tuple(rows[_STAMP].to_pylist())
    key = rows_key(bundle, score)
    facts = PartFacts(
        folder=score.folder,
        bundle=score.bundle,
        precision=score.precision,
        engine=score.engine,
        embedding_size=score.embedding_size,
        decode_policy=bundle.card.policy,
        decoder=score.decoder,
        familiarity=score.familiarity,
        first_row=0,
        num_rows=len(rows),
        rows_key=key,
        part_key=part_key(key, stamps),
        stamps=stamps,
    )
    fitted = table.fitted(with_origin(rows.drop_columns([_STAMP, _CONTENT]), score.bundle, plan.started))
    plain = EMBEDDING if EMBEDDING in fitted.column_names else None
    write_part(table.out.folder / name, fitted, facts, table.paths.work, plain)


def _counted(rows: pa.Table) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for column in ("status", "reason", "label"):
        there = "labels" if column == "label" and "labels" in rows.column_names else column
        values = rows[there].to_pylist()
        flat = (each for value in values for each in (value if isinstance(value, list) else [value]))
        counts[column] = Counter(each for each in flat if each is not None)
    return counts
