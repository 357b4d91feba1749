"""A part of a prediction table: its files scored, its rows written, and a note beside it of what it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from darkroom.data.dataset.manifest import read_group, write_table
from darkroom.data.errors import CountError
from darkroom.data.files.atomic import file_sha256, write_json
from darkroom.data.images.decoder import require_decoder
from darkroom.data.stores.folders import folder_at
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.bundle.runtime import Engine, Runner
from darkroom.models.scoring.known_rows import is_done, known_rows, part_key
from darkroom.models.scoring.plan import ScorePlan, bundle_key_of, read_plan
from darkroom.models.scoring.rows import score_rows
from darkroom.models.scoring.schema import EMBEDDING, SCHEMA, note_file, part_name, work_folder


@dataclass(frozen=True)
class PartDone:
    """A part: its rows, and how many of them an earlier run had made."""

    index: int
    num_rows: int
    num_reused: int


def score_part(out: Path, index: int, runner: Runner, bundle: Bundle, num_threads: int | None = None) -> PartDone:
    """Score the files of one part and write it; a whole part of the same files and bundle is kept, and so are rows.

    Args:
        out: Where the plan lies.
        index: Of the part.
        runner: The network, run by the engine that the plan names.
        bundle: The one of the plan.
        num_threads: None takes all processors; whatever it is, the bytes are the same.

    Raises:
        CountError: where the rows are not as many as the files.
        WorkError: where the plan was made with another decoder than the one installed here.
    """
    plan = read_plan(out)
    files = read_group(work_folder(out) / "plan.parquet", index).to_pylist()
    bundle_key = bundle_key_of(bundle, plan)
    key = part_key(bundle_key, files)
    final, note = out / part_name(index), note_file(out, index)
    if is_done(final, note, key):
        return PartDone(index, len(files), len(files))
    require_decoder(plan.decoder)
    known = known_rows(work_folder(out), files, bundle_key)
    unknown = [file for file in files if file["path"] not in known]
    embeddings = plan.embedding_size is not None
    scored = score_rows(unknown, folder_at(plan.folder), runner, bundle, num_threads, embeddings)
    rows = [known.get(file["path"]) or next(scored) for file in files]
    if len(rows) != len(files):
        raise CountError(f"Part {index} of {plan.folder} has {len(files)} files and {len(rows)} rows.")
    write_table(final, _table(rows, plan), plain=EMBEDDING if embeddings else None)
    write_json(note, {"key": key, "sha256": file_sha256(final)})
    return PartDone(index, len(files), len(known))


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
