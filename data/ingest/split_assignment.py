"""The splits of a data set's images: as drawn, as an earlier version of it assigned them, and fair to each class.

The parts of an ingest store each image in the split that its hash alone gives. When the parts are merged, an image that
any earlier version of the data set assigned (by the same shares and seed) keeps that split, and classes for which
chance was unfair are cut anew (`darkroom.data.splits.stratification`). What then lies elsewhere than drawn is stored
again.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from darkroom.data.dataset.dataset import DatasetCard
from darkroom.data.splits.splits import SplitPlan
from darkroom.data.splits.stratification import Member, is_fair, stratify
from darkroom.data.stores.workspace import DATASET_CARD, Workspace

logger = logging.getLogger(__name__)

EARLIER_SCHEMA = pa.schema([("sha256", pa.string()), ("split", pa.string())])


@dataclass(frozen=True)
class AssignedSplits:
    """A manifest with its final splits.

    Attributes:
        manifest: The manifest.
        moved: Split by path, of the images that lie elsewhere than drawn.
        decision: One sentence on these; None where there are none.
    """

    manifest: pa.Table
    moved: dict[str, str]
    decision: str | None


def earlier_splits(place: Workspace, name: str, plan: SplitPlan) -> pa.Table:
    """What earlier versions of a data set drew, `sha256` and `split`, the newest version first.

    Versions with other shares or another seed, and those that cannot be read, are left out: to ask for other splits is
    to ask for other assignments.

    Args:
        place: Where the versions are.
        name: Of the data set.
        plan: The shares and the seed.
    """
    found = [EARLIER_SCHEMA.empty_table()]
    for folder in place.dataset_versions(name):
        try:
            card = DatasetCard.model_validate_json(place.read_file(folder / DATASET_CARD))
            if card.splits != plan:
                continue
            content = io.BytesIO(place.read_file(folder / card.manifest.file))
            rows = pq.read_table(content, columns=["sha256", "split", "source_split"])
        except (OSError, ValueError, pa.ArrowException) as error:
            logger.warning("The splits of %s@%s cannot be read (%s): they are not kept.", name, folder.name, error)
            continue
        found.append(rows.filter(_is_drawn(rows, plan)).select(EARLIER_SCHEMA.names).cast(EARLIER_SCHEMA))
    return pa.concat_tables(found)


def assign_splits(
    manifest: pa.Table, plan: SplitPlan, earlier: pa.Table, tied: Callable[[], frozenset[str]]
) -> AssignedSplits:
    """Give each image its final split.

    Args:
        manifest: With the splits that the hashes alone give.
        plan: How they were drawn.
        earlier: See `earlier_splits`.
        tied: SHA-256 of all images that have near-duplicates or contradict another's label, asked only where a class is
            to be cut anew: such images stay, so that no near-duplicates are torn apart.
    """
    drawn = _is_drawn(manifest, plan)
    before = (
        earlier["split"]
        .combine_chunks()
        .take(pc.index_in(manifest["sha256"].combine_chunks(), earlier["sha256"].combine_chunks()))
    )
    before = pc.if_else(drawn, before, None)
    assigned = pc.coalesce(before, manifest["split"].combine_chunks())
    contents = pa.table(
        {
            "label": manifest["label"].combine_chunks(),
            "sha256": manifest["sha256"].combine_chunks(),
            "split": assigned,
            "is_free": pc.is_null(before),
        }
    )
    changed = _cut_anew(contents.filter(drawn), plan, tied)
    if changed:
        contents = pa.array(list(changed), pa.string())
        places = pc.index_in(manifest["sha256"].combine_chunks(), contents)
        cut = pa.array(list(changed.values()), pa.string()).take(places)
        assigned = pc.coalesce(pc.if_else(drawn, cut, None), assigned)
    is_moved = pc.fill_null(pc.not_equal(assigned, manifest["split"].combine_chunks()), False)
    moved = manifest.filter(is_moved)
    splits = dict(zip(moved["path"].to_pylist(), assigned.filter(is_moved).to_pylist(), strict=True))
    place = manifest.schema.get_field_index("split")
    table = manifest.set_column(place, manifest.schema.field("split"), assigned)
    return AssignedSplits(table, splits, _decision(moved) if splits else None)


def _cut_anew(contents: pa.Table, plan: SplitPlan, tied: Callable[[], frozenset[str]]) -> dict[str, str]:
    """The splits that change, by SHA-256, so that they are fair to each class.

    Args:
        contents: Of the images whose split is drawn: `label`, `sha256`, `split`, and whether that `is_free`.
        plan: How they were drawn.
        tied: See `assign_splits`.
    """
    contents = contents.group_by(list(contents.column_names)).aggregate([])  # each content of a class once
    changed: dict[str, str] = {}
    stay: frozenset[str] | None = None
    for label in sorted(pc.unique(contents["label"]).to_pylist()):
        rows = contents.filter(pc.equal(contents["label"], label)).select(["sha256", "split", "is_free"])
        members = [Member(*row.values()) for row in rows.to_pylist()]
        if is_fair(members, plan):
            continue
        stay = tied() if stay is None else stay
        free = [Member(each.sha256, each.split, each.is_free and each.sha256 not in stay) for each in members]
        changed |= stratify(free, plan)
    return changed


def _is_drawn(rows: pa.Table, plan: SplitPlan) -> pa.Array:
    """Whether each row's split was drawn, and not the source's."""
    if not plan.drawn_shares:
        return pa.array(np.zeros(rows.num_rows, np.bool_))
    held_out = pc.is_in(rows["source_split"].combine_chunks(), pa.array(plan.held_out, pa.string()))
    return pc.and_(pc.is_valid(rows["split"].combine_chunks()), pc.invert(held_out))


def _decision(moved: pa.Table) -> str:
    labels = sorted(set(moved["label"].to_pylist()))
    more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
    return f"splits: stratified, {moved.num_rows} images of {', '.join(labels[:5])}{more} elsewhere than drawn"
