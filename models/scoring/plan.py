"""The plan of a scoring: the files of a folder in the order of the table, and what is to score them.

In the work folder of a table, while a run is going on: `plan.parquet` lists the files, a row group a part, and
`plan.json` says the rest.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from darkroom.data.dataset.dataset import open_dataset
from darkroom.data.errors import InputError
from darkroom.data.figures import count
from darkroom.data.files.atomic import atomic_file, write_json
from darkroom.data.files.hashing import content_version
from darkroom.data.images.decoder_fingerprint import Decoder, decoder, settle_mismatch
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.images.value_range import range_remark
from darkroom.data.parallel import in_batches
from darkroom.data.settings import without_defaults
from darkroom.data.stores.folders import ImageFolder, folder_at, image_folder
from darkroom.data.stores.listing import FileEntry, printable
from darkroom.data.stores.model_choice import ModelChoice
from darkroom.data.stores.named_files import NamedFiles
from darkroom.data.stores.table_paths import TablePaths
from darkroom.models.bundle.bundle import Bundle, check_decoder
from darkroom.models.onnx.runtime import Engine
from darkroom.models.prediction_table import earlier_layout
from darkroom.models.prediction_table.inbox_table import night_parts
from darkroom.models.prediction_table.part_file import LATER, PartFacts, read_facts
from darkroom.models.prediction_table.schema import TOP_K, kept_classes
from darkroom.models.profile.profile import why_unfamiliarity_is_not_told
from darkroom.models.scoring.request import ScoreRequest
from darkroom.models.scoring.reuse import RowKeys, keep_rows

logger = logging.getLogger(__name__)

CODE_VERSION = 2
# Of the plan, for a look at the images: so many parts, evenly spread, and files of each.
_MAX_GROUPS_PEEKED, _MAX_FILES_PEEKED = 20, 1000
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
    """What is to be scored, and how; the files are listed in `plan.parquet` beside it.

    Attributes:
        folder: The folder to score, a path or a URL; of named files, the one that they have in common.
        listed: Whether files of it were named, in place of all.
        bundle: `name@version`.
        chosen: Why that version; None in a plan of an earlier Darkroom.
        num_files: Files to score.
        rows_per_part: Files per part of the table.
        engine: What runs the network, in every part.
        embedding_size: Numbers in an embedding; None where the table has none.
        top_k: Classes that each row keeps, if there are as many.
        decoder: Of the images; None in a plan of an earlier Darkroom.
        familiarity: The version of the training profile that tells which images are unfamiliar; None where none does.
        remarks: Sentences for the person on what is to be scored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    listed: bool = False
    bundle: str
    chosen: ModelChoice | None = None
    num_files: int
    rows_per_part: int
    engine: Engine = "fp32"
    embedding_size: int | None = None
    top_k: int = TOP_K
    decoder: Decoder | None = None
    familiarity: str | None = None
    remarks: tuple[str, ...] = ()

    @model_serializer(mode="wrap")
    def _as_it_always_was(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_defaults(self, dump(self), LATER)

    @property
    def num_parts(self) -> int:
        """Parts of the table."""
        return -(-self.num_files // self.rows_per_part)

    @property
    def images(self) -> ImageFolder:
        """Where the files are read."""
        return NamedFiles(Path(self.folder)) if self.listed else folder_at(self.folder)

    @property
    def precision(self) -> Literal["fp32", "int8", "service"]:
        """The precision of the engine; Keras computes in fp32, and what a service computes in it does not say."""
        return "fp32" if self.engine == "keras" else self.engine


def plan_scoring(request: ScoreRequest, bundle: Bundle, engine: Engine | None = None) -> ScorePlan:
    """List the files of a folder and write the plan; the caller holds the lock of the table's work folder.

    Args:
        request: What is asked for.
        bundle: Its bundle, opened.
        engine: What runs the network; None uses the one that the requested precision means on this machine.

    Raises:
        SettingError: where embeddings or int8 are asked for and the network has none.
        InputError: where the folder has no files, files of the split are gone, the table is another program's, another
            folder's, an inbox's or, without `rescore`, another model's; or, with `strict`, a decoder is another one.
    """
    if request.embeddings:
        bundle.check_embeddings()
    engine = engine or bundle.engine(request.precision)
    say_what_is_missing(bundle)
    check_decoder(bundle, decoder(), request.decoder_mismatch)
    table = request.out.paths
    request.out.fetch()
    refuse_other_table(request, bundle.reference)
    entries = files_of(request)
    first = next(entries, None)
    if first is None:
        raise InputError(f"{request.folder} holds no files. Give the folder that holds the images.")
    with atomic_file(table.planned_files) as planned:
        num_files = write_plan(planned, chain([first], entries), request.rows_per_part)
        plan = plan_of(request, bundle, engine, num_files)
        _say_what_changes(request, plan)
        with pq.ParquetFile(planned) as listed:
            keep_rows(table, listed, _row_keys(bundle, plan), request.retry_quarantined)
            plan = plan.model_copy(update={"remarks": _remarks(request, listed, bundle.card.policy)})
    write_json(table.plan, plan.model_dump(mode="json"))
    request.out.share_plan()
    return plan


def say_what_is_missing(bundle: Bundle) -> None:
    """Say, of a model that does not tell which images are unfamiliar, why not, and what to do.

    Args:
        bundle: The model's.
    """
    if bundle.profile is None:
        said = "No columns unfamiliarity and unfamiliar: %s."
        logger.info(said, why_unfamiliarity_is_not_told(bundle.folder, bundle.reference))


def _remarks(request: ScoreRequest, listed: pq.ParquetFile, policy: DecodePolicy) -> tuple[str, ...]:
    """What is to be said of the images before they are scored; of a folder in a store nothing, as they lie far away."""
    folder = request.folder.folder if isinstance(request.folder, NamedFiles) else request.folder
    if not isinstance(folder, Path):
        return ()
    step = -(-listed.num_row_groups // _MAX_GROUPS_PEEKED)
    groups = (
        listed.read_row_group(group, columns=["os_path", "reason"]) for group in range(0, listed.num_row_groups, step)
    )
    files = [file for group in groups for file in group.slice(0, _MAX_FILES_PEEKED).to_pylist() if not file["reason"]]
    mixed = sorted((file["os_path"] for file in files), key=lambda path: hashlib.sha256(path).digest())
    remark = range_remark(folder, map(os.fsdecode, mixed), policy)
    if remark:
        logger.warning("%s: %s", folder, remark)
    return (remark,) if remark else ()


def plan_of(request: ScoreRequest, bundle: Bundle, engine: Engine, num_files: int) -> ScorePlan:
    """The plan of a request.

    Args:
        request: What is asked for.
        bundle: Its bundle, opened.
        engine: What runs the network.
        num_files: Files to score.
    """
    return ScorePlan(
        folder=image_folder(request.folder).reference,
        listed=isinstance(request.folder, NamedFiles),
        bundle=bundle.reference,
        chosen=request.chosen,
        num_files=num_files,
        rows_per_part=request.rows_per_part,
        engine=engine,
        embedding_size=bundle.card.embedding_size if request.embeddings else None,
        top_k=kept_classes(request.top_k, len(bundle.card.labels)),
        decoder=decoder(),
        familiarity=bundle.profile.version if bundle.profile else None,
    )


def read_plan(table: TablePaths) -> ScorePlan:
    """The plan that `plan_scoring` wrote."""
    return ScorePlan.model_validate_json(table.plan.read_text(encoding="utf-8"))


def remove_plan(table: TablePaths) -> None:
    """Remove the plan of a complete table, whose parts hold all that the next run needs."""
    for path in (table.plan, table.planned_files, table.known_rows):
        path.unlink(missing_ok=True)


def rows_key(bundle: Bundle, plan: ScorePlan) -> str:
    """A hash of what every row of a table depends on besides its file.

    Args:
        bundle: What scores.
        plan: How it scores.
    """
    card = bundle.card.model_dump(mode="json", exclude={"decoder"})  # of its training images, not of those scored
    pixels = [plan.decoder.fingerprint] if plan.decoder else []  # none: as an earlier Darkroom wrote it
    later = {"top_k": plan.top_k, "familiarity": plan.familiarity}
    more = [{name: value} for name, value in later.items() if value not in (TOP_K, None)]
    return content_version(CODE_VERSION, card, plan.folder, plan.engine, plan.embedding_size, *pixels, *more)


def _row_keys(bundle: Bundle, plan: ScorePlan) -> RowKeys:
    """What rows are taken over by; of named files also those that were named relative to another folder."""

    def in_folder(folder: str) -> str:
        return rows_key(bundle, plan.model_copy(update={"folder": folder}))

    return RowKeys(rows_key(bundle, plan), plan.folder, in_folder if plan.listed else None)


def refuse_other_table(request: ScoreRequest, model: str) -> None:
    """Refuse to write over the table of other images and, without `rescore`, over that of another model.

    The table of a folder and that of named files are two, even where the files are the same. Of named files at least
    one must have been in the table: a list may grow and shrink.

    Args:
        request: What is to be scored, and where the table goes.
        model: By what, `name@version`.

    Raises:
        InputError: naming both, and what to do.
    """
    folder, out = image_folder(request.folder).reference, request.out.reference
    if night_parts(request.out.folder):
        raise InputError(
            f"{out} holds the table of an inbox. Score what is new into it with --new, or give another folder with "
            "--out."
        )
    named = request.folder if isinstance(request.folder, NamedFiles) else None
    elsewhere = "Give another with --out, or remove that table first."
    for earlier in _earlier_tables(request.out.paths):
        if earlier.listed != (named is not None):
            what = f"named files in {earlier.folder}" if earlier.listed else f"the whole folder {earlier.folder}"
            raise InputError(f"{out} holds the table of {what}. {elsewhere}")
        if named is None and earlier.folder != folder:
            raise InputError(f"{out} holds the table of another folder, {earlier.folder}. {elsewhere}")
        if earlier.bundle != model and not request.rescore:
            why = f" ({request.chosen.reason})" if request.chosen else ""
            raise InputError(
                f"The table in {out} was made by {earlier.bundle}, and {model}{why} would score it now. "
                f"Replace its rows with --rescore, keep them with --model {earlier.bundle}, or give another folder "
                "with --out."
            )
    scored = _paths_of(request.out.paths) if named is not None else set()
    if named is not None and scored and scored.isdisjoint(map(printable, named.paths)):
        raise InputError(f"{out} holds the table of other files, such as {min(scored)}. {elsewhere}")


def _paths_of(table: TablePaths) -> set[str]:
    """The absolute paths, printable, of the rows of a table of named files."""
    found: set[str] = set()
    for part in table.parts():
        facts = read_facts(part)
        if facts is not None:
            paths = pq.read_table(part, columns=["path"])["path"].to_pylist()
            found.update(os.path.join(facts.folder, path) for path in paths)
    return found


def _earlier_tables(table: TablePaths) -> Iterator[ScorePlan | PartFacts]:
    """What the parts of a table that lies there already were made from."""
    if earlier_layout.is_earlier(table):
        yield ScorePlan.model_validate_json(earlier_layout.plan(table).read_bytes())
    else:
        yield from (facts for facts in map(read_facts, table.parts()) if facts is not None)


def _say_what_changes(request: ScoreRequest, plan: ScorePlan) -> None:
    """Say why rows of a table that lies there already are scored again."""
    reference, earlier = request.out.reference, next(_earlier_tables(request.out.paths), None)
    if earlier is None:
        return
    if isinstance(request.folder, NamedFiles):
        gone = len(_paths_of(request.out.paths).difference(map(printable, request.folder.paths)))
        if gone:
            said = "The table in %s loses %s: their files are no longer named."
            logger.warning(said, reference, count(gone, "row"))
    if earlier.bundle != plan.bundle:
        said = "The table in %s was made by %s: all of its rows are scored again by %s."
        logger.warning(said, reference, earlier.bundle, plan.bundle)
    elif earlier.familiarity != plan.familiarity:
        said = "The training profile of %s is another than it was: all rows of the table in %s are scored again."
        logger.warning(said, plan.bundle, reference)
    elif earlier.embedding_size and not plan.embedding_size:
        logger.warning("The table in %s loses its column embedding: this run was not given --embeddings.", reference)
    elif earlier.top_k != plan.top_k:
        said = "The table in %s keeps the %d most likely classes in place of %d: all of its rows are scored again."
        logger.warning(said, reference, plan.top_k, earlier.top_k)
    else:
        settle_mismatch(
            f"The images of the table in {reference} were",
            earlier.decoder,
            plan.decoder,
            request.decoder_mismatch,
            "all of its rows are scored again",
        )


def files_of(request: ScoreRequest) -> Iterator[FileEntry]:
    """The files to be scored, sorted by path.

    Raises:
        InputError: where files of the requested split are no longer in the folder.
    """
    entries = image_folder(request.folder).iter_files()
    if request.dataset is None:
        return entries
    wanted = frozenset(open_dataset(request.dataset).paths(request.split))
    found = [entry for entry in entries if entry.path in wanted]
    if len(found) != len(wanted):
        raise InputError(f"{len(wanted) - len(found)} of {len(wanted)} files are no longer in {request.folder}.")
    return iter(found)


def write_plan(path: Path, entries: Iterable[FileEntry], rows_per_part: int) -> int:
    """Write the files while they are listed; returns their number.

    A row group is a part, so that a part reads its own rows and not those of all the others.

    Args:
        path: `plan.parquet`.
        entries: The files, in order.
        rows_per_part: Files in one part.
    """
    num_files = 0
    with pq.ParquetWriter(path, _PLAN_SCHEMA, compression="zstd") as writer:
        for part in in_batches(entries, rows_per_part):
            writer.write_table(plan_table(part), row_group_size=len(part))
            num_files += len(part)
    return num_files


def plan_table(entries: Sequence[FileEntry]) -> pa.Table:
    """The rows of `plan.parquet` for these files."""
    columns = [
        [entry.path for entry in entries],
        [os.fsencode(entry.os_path) for entry in entries],
        [entry.size_bytes for entry in entries],
        [entry.mtime_ns for entry in entries],
        [entry.reason for entry in entries],
        [entry.etag for entry in entries],
    ]
    return pa.table(columns, schema=_PLAN_SCHEMA)
