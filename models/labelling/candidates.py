"""The images of a prediction table that may be labelled: all, or as many as fit into memory.

Of more, a sample is kept in which the chance of an image grows with its value (Efraimidis, Spirakis 2006), drawn by
the images' own hashes: what is uncertain is mostly there, and so is something of everything else.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from darkroom.data.dataset.manifest import OK
from darkroom.models.labelling.selection import Known, unit, value
from darkroom.models.labelling.uncertainty import ONE_LABEL, Opinion, Opinions
from darkroom.models.prediction_table.schema import EMBEDDING

logger = logging.getLogger(__name__)

# Embeddings by which an image is found familiar; 10 MB of 1,280 numbers each.
MAX_KNOWN = 2000
_ROWS = 1000


@dataclass(frozen=True)
class Candidate:
    """An image that may be labelled.

    Attributes:
        path, sha256: As in the table.
        opinion: What the model says of it.
        unfamiliarity: As `Known.unfamiliarity` gives it.
    """

    path: str
    sha256: str
    opinion: Opinion
    unfamiliarity: float


@dataclass(frozen=True)
class PoolRules:
    """Which images are candidates.

    Attributes:
        size: Candidates to keep: twice as many are in memory at most.
        labelled: SHA-256 of images that need no label.
        unusable: Paths of images that a correction left out.
        opinions: How the rows of the table are read.
    """

    size: int
    labelled: Collection[str] = frozenset()
    unusable: Collection[str] = frozenset()
    opinions: Opinions = ONE_LABEL


@dataclass(frozen=True)
class Pool:
    """N candidates.

    Attributes:
        candidates: Who they are.
        values: `float32[N]`.
        vectors: Embeddings of length 1, `float16[N, D]`.
        num_ok: Images of the table that were scored.
        num_labelled: Those of them that need no label, because the data set has them.
        num_unusable: Those of them that a correction left out.
    """

    candidates: tuple[Candidate, ...]
    values: NDArray[np.float32]
    vectors: NDArray[np.float16]
    num_ok: int
    num_labelled: int
    num_unusable: int = 0


@dataclass(frozen=True)
class _Kept:
    """Some candidates, and the keys by which they are sampled."""

    keys: NDArray[np.float64]
    values: NDArray[np.float32]
    vectors: NDArray[np.float16]
    candidates: list[Candidate]

    @classmethod
    def of(cls, values: NDArray[np.float32], vectors: NDArray[np.float32], candidates: list[Candidate]) -> _Kept:
        # The first 52 bits of a SHA-256 are a uniform number.
        uniform = np.array([(int(each.sha256[:13], 16) + 0.5) / 2**52 for each in candidates], np.float64)
        return cls(np.log(uniform) / (values + 1e-3), values, vectors.astype(np.float16), candidates)


def read_pool(parts: Sequence[Path], known: Known, rules: PoolRules) -> Pool:
    """The images of a table that may be labelled; of identical files the first.

    Args:
        parts: Of a prediction table with embeddings, in order.
        known: What the model is taken to know.
        rules: Which images they are.
    """
    kept: list[_Kept] = []
    num_ok = num_labelled = num_unusable = held = 0
    for rows in _scored_rows(parts, rules.opinions.columns):
        num_ok += rows.num_rows
        wanted = [index for index, sha256 in enumerate(rows["sha256"].to_pylist()) if sha256 not in rules.labelled]
        num_labelled += rows.num_rows - len(wanted)
        paths = rows["path"].to_pylist()
        usable = [index for index in wanted if paths[index] not in rules.unusable]
        num_unusable += len(wanted) - len(usable)
        wanted = usable
        if not wanted:
            continue
        rows = rows.take(wanted)
        vectors = unit(_vectors(rows))
        opinions = rules.opinions.of(rows)
        margins = np.array([opinion.margin for opinion in opinions], np.float32)
        unfamiliarity = known.unfamiliarity(vectors)
        columns = (rows["path"].to_pylist(), rows["sha256"].to_pylist(), opinions, unfamiliarity.tolist())
        found = [Candidate(*each) for each in zip(*columns, strict=True)]
        kept.append(_Kept.of(value(margins, unfamiliarity), vectors, found))
        held += len(found)
        if held >= 2 * rules.size:
            kept = [_best(kept, rules.size)]
            held = len(kept[0].candidates)
    best = _best(kept, rules.size) if kept else _Kept.of(np.zeros(0, np.float32), np.zeros((0, 1), np.float32), [])
    return Pool(tuple(best.candidates), best.values, best.vectors, num_ok, num_labelled, num_unusable)


def folder_sample(parts: Sequence[Path], size: int = MAX_KNOWN) -> Known:
    """What is usual in the folder itself, for a model whose training images are not at hand: a sample by hash.

    Args:
        parts: Of a prediction table with embeddings.
        size: Images in the sample.
    """
    vectors = np.zeros((0, 1), np.float32)
    names: NDArray[np.str_] = np.zeros(0, "<U64")
    for rows in _scored_rows(parts):
        found = unit(_vectors(rows))
        vectors = np.concatenate([vectors, found]) if len(vectors) else found
        names = np.concatenate([names, np.array(rows["sha256"].to_pylist(), "<U64")])
        order = np.argsort(names, kind="stable")[:size]
        vectors, names = vectors[order], names[order]
    return Known.of(vectors)


def _scored_rows(parts: Sequence[Path], more: Sequence[str] = ()) -> Iterator[pa.Table]:
    columns = ["path", "sha256", "status", *more, EMBEDDING]
    for part in parts:
        with pq.ParquetFile(part) as file:
            for batch in file.iter_batches(_ROWS, columns=columns):
                rows = pa.Table.from_batches([batch]).filter(pc.equal(pc.field("status"), OK))
                if rows.num_rows:
                    yield rows.combine_chunks()


def _vectors(rows: pa.Table) -> NDArray[np.float32]:
    flat = pc.list_flatten(rows[EMBEDDING].combine_chunks())
    return np.asarray(flat.to_numpy(zero_copy_only=False), np.float32).reshape(rows.num_rows, -1)


def _best(kept: list[_Kept], size: int) -> _Kept:
    """Those with the highest keys, each content once."""
    keys = np.concatenate([each.keys for each in kept])
    candidates = [candidate for each in kept for candidate in each.candidates]
    first: dict[str, int] = {}
    for at in np.argsort(-keys, kind="stable").tolist():
        first.setdefault(candidates[at].sha256, at)
    order = list(first.values())[:size]
    values, vectors = (
        np.concatenate(columns) for columns in zip(*((each.values, each.vectors) for each in kept), strict=True)
    )
    return _Kept(keys[order], values[order], vectors[order], [candidates[at] for at in order])
