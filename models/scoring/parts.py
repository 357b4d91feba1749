"""A part of a prediction table: its files scored, and its rows written."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.data.dataset.manifest import read_group
from darkroom.data.errors import CountError, WorkError
from darkroom.data.images.crash_recovery import watched_decode
from darkroom.data.images.decoder_fingerprint import require_decoder
from darkroom.data.stores.table_paths import TablePaths
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.onnx.runtime import Engine, Runner
from darkroom.models.prediction_table.part_file import PartFacts, part_key, stamp, write_part
from darkroom.models.prediction_table.schema import EMBEDDING, as_table
from darkroom.models.profile.profile import Profile
from darkroom.models.scoring.plan import ScorePlan, read_plan, rows_key
from darkroom.models.scoring.reuse import is_done, known_rows
from darkroom.models.scoring.rows import Scorer, score_rows


@dataclass(frozen=True)
class PartDone:
    """A scored part.

    Attributes:
        index: The part, from 0.
        num_rows: Its rows.
        num_reused: Those that an earlier run had made.
        began: When the others began to be computed: seconds since 1970, by the clock of the worker.
        ended: When they were written.
    """

    index: int
    num_rows: int
    num_reused: int
    began: float = 0.0
    ended: float = 0.0


def images_per_second(parts: Iterable[PartDone]) -> float | None:
    """The rows that were computed, by the time in which at least one worker computed some; None where none was."""
    num_rows, seconds, until = 0, 0.0, 0.0
    for part in sorted(parts, key=lambda part: part.began):
        if part.num_rows > part.num_reused:
            num_rows += part.num_rows - part.num_reused
            seconds += max(0.0, part.ended - max(part.began, until))
            until = max(until, part.ended)
    return round(num_rows / max(seconds, 1e-9), 1) if num_rows else None


def score_part(out: Path, index: int, runner: Runner, bundle: Bundle, num_threads: int | None = None) -> PartDone:
    """Score the files of one part and write it; a complete part of the same files and bundle is kept, and so are rows.

    Args:
        out: The table's folder, for which there is a plan.
        index: The part, from 0.
        runner: The network, run by the engine that the plan names.
        bundle: The plan's.
        num_threads: None uses all processors; the bytes are the same whatever it is.

    Raises:
        CountError: where there are not as many rows as files.
        WorkError: where the plan was made with another decoder than the installed one.
    """
    table = TablePaths(out)
    plan = read_plan(table)
    files = read_group(table.planned_files, index).to_pylist()
    facts = _facts(plan, bundle, index, files)
    final = table.part(index)
    if is_done(final, facts.part_key):
        return PartDone(index, len(files), len(files))
    require_decoder(plan.decoder)
    profile = profile_of(bundle, plan)
    known = known_rows(table, files, facts.rows_key)
    unknown = [file for file in files if file["path"] not in known]
    embeddings = plan.embedding_size is not None
    began = time.time()
    with watched_decode(table.work, index, [file["path"] for file in files]) as decode:
        scorer = Scorer(runner, bundle, num_threads, embeddings, decode, plan.top_k, profile, plan.engine)
        scored = score_rows(unknown, plan.images, scorer)
        rows = [known.get(file["path"]) or next(scored) for file in files]
    if len(rows) != len(files):
        raise CountError(f"Part {index} of {plan.folder} has {len(files)} files and {len(rows)} rows.")
    table_rows = as_table(rows, plan.embedding_size, bundle.several_labels, profile is not None)
    write_part(final, table_rows, facts, table.work, plain=EMBEDDING if embeddings else None)
    return PartDone(index, len(files), len(known), began, time.time())


def profile_of(bundle: Bundle, plan: ScorePlan) -> Profile | None:
    """The training profile by which a plan's rows say what is unfamiliar; None where they do not.

    Args:
        bundle: The plan's.
        plan: The plan.

    Raises:
        WorkError: where it is another than when the plan was made.
    """
    if plan.familiarity is None:
        return None
    if bundle.profile is None or bundle.profile.version != plan.familiarity:
        raise WorkError(f"The training profile of {plan.bundle} was changed during the run. Start the run again.")
    return bundle.profile


def open_runner(bundle_folder: Path, engine: Engine = "fp32") -> tuple[Runner, Bundle]:
    """A checked bundle and its network, ready for several threads to run, each on its own.

    Args:
        bundle_folder: The bundle's folder.
        engine: What runs the network.

    Raises:
        FormatError: where the bundle is damaged.
    """
    bundle = open_bundle(bundle_folder)
    return bundle.runner(engine, num_threads=1), bundle


def _facts(plan: ScorePlan, bundle: Bundle, index: int, files: list[dict[str, Any]]) -> PartFacts:
    key, stamps = rows_key(bundle, plan), tuple(stamp(file) for file in files)
    return PartFacts(
        folder=plan.folder,
        listed=plan.listed,
        bundle=plan.bundle,
        precision=plan.precision,
        engine=plan.engine,
        embedding_size=plan.embedding_size,
        top_k=plan.top_k,
        decode_policy=bundle.card.policy,
        decoder=plan.decoder,
        familiarity=plan.familiarity,
        first_row=index * plan.rows_per_part,
        num_rows=len(files),
        rows_key=key,
        part_key=part_key(key, stamps),
        stamps=stamps,
    )
