"""What has arrived in an inbox: its files held against what is known, and the plan of those that are to be read.

In the work folder, while a run is going on: `plan.parquet` lists the files to read, a row group a part, and
`night.json` says the rest.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from darkroom.data.errors import InputError, SourceError
from darkroom.data.files.atomic import atomic_file, write_json
from darkroom.data.images.decoder_fingerprint import decoder
from darkroom.data.parallel import in_batches
from darkroom.data.stores.folders import WatchedFolder, watched_folder
from darkroom.data.stores.listing import FileEntry
from darkroom.data.stores.named_files import NamedFiles
from darkroom.models.bundle.bundle import Bundle, check_decoder
from darkroom.models.inbox.known import Known, open_known, stamp_of
from darkroom.models.inbox.request import InboxRequest
from darkroom.models.prediction_table.inbox_table import NightTable, night_schema
from darkroom.models.scoring.plan import ScorePlan, say_what_is_missing, write_plan
from darkroom.models.scoring.request import ScoreRequest

_BATCH = 5000
_WAITS_AT_MOST_NS = 30 * 24 * 3600 * 10**9
_MOUNTED_AT = "mounted_at"


class FileCounts(BaseModel):
    """Files of an inbox, by what a run makes of them before it reads any.

    Attributes:
        num_files: All that were listed.
        num_known: Their path, size and time are those of a file that was scored; they are not opened.
        num_waiting: They may still be written.
        num_left_out: Hidden, under a name of unfinished files, or excluded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_files: int = 0
    num_known: int = 0
    num_waiting: int = 0
    num_left_out: int = 0


class NightPlan(BaseModel):
    """What a run of an inbox is to do.

    Attributes:
        score: How rows are made; its files are those that are to be read.
        files: What was listed.
        night: The partition, a date.
        started: When the run began.
        settle_ns: A file that was changed less long ago may still be written.
        rescore: Whether an image is new that another model has scored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: ScorePlan
    files: FileCounts
    night: str
    started: datetime
    settle_ns: int
    rescore: bool

    @property
    def counted_model(self) -> str | None:
        """The model whose rows make an image known; None for any."""
        return self.score.bundle if self.rescore else None

    @property
    def started_ns(self) -> int:
        """When the run began, nanoseconds since 1970."""
        return round(self.started.timestamp() * 1e6) * 1000


def plan_night(request: InboxRequest, bundle: Bundle) -> NightPlan:
    """List an inbox and write the plan of what is to be read; the caller holds the lock of the table's work folder.

    Args:
        request: What is asked for.
        bundle: Its bundle, opened.

    Raises:
        SettingError: where embeddings or int8 are asked for and the network has none.
        SourceError: where the inbox is missing, or its file system is not mounted.
        InputError: where the table is another inbox's or has other columns, or, with `strict`, a decoder is another.
        FormatError: where a part of the table is damaged.
    """
    score, table = request.score, request.table
    if score.embeddings:
        bundle.check_embeddings()
    check_decoder(bundle, decoder(), score.decoder_mismatch)
    engine = bundle.engine(score.precision)
    say_what_is_missing(bundle)
    table.fetch()
    table.check_kind()
    embedding_size = bundle.card.embedding_size if score.embeddings else None
    for left in table.paths.work.glob("staged-*.parquet"):
        left.unlink()
    reference = _inbox(score).reference
    with open_known(table) as known:
        known.follow(table)
        table.share()  # what a killed run published here alone
        _refuse_other_inbox(table, known.fact("folder"), reference)
        table.check_columns(night_schema(bundle.several_labels, embedding_size, bundle.profile is not None))
        counts = _list(request, known, bundle.reference if score.rescore else None)
        _check_mounted(request, known, counts["num_files"])
        known.remember("folder", reference)
        known.forget_waiting(request.started_ns - _WAITS_AT_MOST_NS)
        known.commit()
        num_files = _write_files(table, known, score.rows_per_part)
    plan = NightPlan(
        score=ScorePlan(
            folder=reference,
            bundle=bundle.reference,
            chosen=score.chosen,
            num_files=num_files,
            rows_per_part=score.rows_per_part,
            engine=engine,
            embedding_size=embedding_size,
            decoder=decoder(),
            familiarity=bundle.profile.version if bundle.profile else None,
        ),
        files=FileCounts(**counts),
        night=request.night,
        started=request.started,
        settle_ns=request.settle_ns,
        rescore=score.rescore,
    )
    write_json(table.night_plan, plan.model_dump(mode="json"))
    return plan


def read_night_plan(table: NightTable) -> NightPlan:
    """The plan that `plan_night` wrote."""
    return NightPlan.model_validate_json(table.night_plan.read_text(encoding="utf-8"))


def remove_night_plan(table: NightTable) -> None:
    """Remove what only the run in progress needs."""
    for path in (table.night_plan, table.paths.planned_files):
        path.unlink(missing_ok=True)


def _list(request: InboxRequest, known: Known, model: str | None) -> dict[str, int]:
    """Put new files among the arrivals; returns the fields of `FileCounts`."""
    counts: Counter[str] = Counter()
    for batch in in_batches(_inbox(request.score).scan_files(), _BATCH):
        listed = [entry for entry in batch if not request.leaves_out(entry.path)]
        stamps = [stamp_of(entry) for entry in listed]
        seen = known.known_stamps(stamps, model)
        unknown = [(entry, stamp) for entry, stamp in zip(listed, stamps, strict=True) if stamp not in seen]
        ready = [entry for entry, stamp in unknown if _is_settled(request, known, entry, stamp)]
        known.add_arrivals(map(_arrival, ready))
        counts["num_files"] += len(batch)
        counts["num_left_out"] += len(batch) - len(listed)
        counts["num_known"] += len(listed) - len(unknown)
        counts["num_waiting"] += len(unknown) - len(ready)
    return {name: counts[name] for name in FileCounts.model_fields}


def _is_settled(request: InboxRequest, known: Known, entry: FileEntry, stamp: str) -> bool:
    """Whether nobody is writing a file any more: its change is old, or an earlier run saw it as it is now.

    The latter is for a file whose time lies ahead, by a camera's clock or since this machine's was set back.
    """
    if entry.reason or not request.settle_ns or request.started_ns - entry.mtime_ns >= request.settle_ns:
        return True
    return abs(request.started_ns - known.waiting_since(stamp, request.started_ns)) >= request.settle_ns


def _check_mounted(request: InboxRequest, known: Known, num_files: int) -> None:
    """Tell an empty inbox from one whose file system is not there: what is left then is the empty folder below it."""
    folder = request.score.folder
    if not isinstance(folder, Path):
        return
    now, before = _mount_point(folder), known.fact(_MOUNTED_AT)
    if before and now != before and not num_files:
        raise SourceError(
            f"The inbox {folder} is empty, and the file system that held it at {before} is not mounted. Mount it, and "
            "run again; nothing is lost."
        )
    known.remember(_MOUNTED_AT, now)


def _mount_point(folder: Path) -> str:
    place = folder.resolve()
    while not os.path.ismount(place):
        place = place.parent
    return str(place)


def _refuse_other_inbox(table: NightTable, earlier: str | None, folder: str) -> None:
    if earlier not in (None, folder) and table.parts():
        raise InputError(
            f"{table.out.reference} holds the table of another inbox, {earlier}. Give another folder with --out."
        )


def _arrival(entry: FileEntry) -> tuple[str, bytes, int, int, str | None, str | None]:
    return (entry.path, os.fsencode(entry.os_path), entry.size_bytes, entry.mtime_ns, entry.reason, entry.etag)


def _write_files(table: NightTable, known: Known, rows_per_part: int) -> int:
    with atomic_file(table.paths.planned_files) as planned:
        return write_plan(planned, known.arrivals(), rows_per_part)


def _inbox(score: ScoreRequest) -> WatchedFolder:
    if isinstance(score.folder, NamedFiles):
        raise InputError("--new scores what is new in a folder. Give one folder, or score files without --new.")
    return watched_folder(score.folder)
