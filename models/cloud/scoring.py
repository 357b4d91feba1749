"""From files to rows by a service: the table, its parts and its resume are those of any scoring.

Each file is decoded by the one decoder and sent as a JPEG made of those pixels: EXIF, GPS and all else that is not
picture stays here. What cannot be decoded is not sent.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pyarrow.parquet as pq
from PIL import Image

from darkroom.data.dataset.manifest import OK, QUARANTINED, read_group
from darkroom.data.errors import ImageError, InputError, WorkError
from darkroom.data.files.atomic import atomic_file, write_json
from darkroom.data.files.hashing import content_version
from darkroom.data.images.crash_recovery import Decode, decode_unwatched, watched_decode
from darkroom.data.images.decode import Decoded
from darkroom.data.images.decoder_fingerprint import decoder
from darkroom.data.images.pixels.encode import encode_jpeg
from darkroom.data.parallel import raise_if_stopped
from darkroom.data.stores.folders import ImageFolder, image_folder
from darkroom.data.stores.named_files import NamedFiles
from darkroom.data.stores.table_paths import TablePaths
from darkroom.models.cloud.answers import Answers
from darkroom.models.cloud.service import Answer, CloudService, NoAnswerError, UnavailableError
from darkroom.models.cloud.settings import PREFIX, CloudSettings
from darkroom.models.cloud.spending import Estimate, Spending
from darkroom.models.cloud.word_map import WordMap
from darkroom.models.prediction_table.part_file import PartFacts, part_key, stamp, write_part
from darkroom.models.prediction_table.schema import as_table
from darkroom.models.scoring.parts import PartDone
from darkroom.models.scoring.plan import ScorePlan, files_of, read_plan, refuse_other_table, write_plan
from darkroom.models.scoring.request import ScoreRequest
from darkroom.models.scoring.reuse import RowKeys, is_done, keep_rows, known_rows
from darkroom.models.scoring.rows import read_contents

_QUALITY = 90
_SAMPLE = 16
_CODE_VERSION = 1


@dataclass(frozen=True)
class Asked:
    """A service, and how its words become labels.

    Attributes:
        settings: The service.
        word_map: From its words to classes; None leaves its words as they are.
    """

    settings: CloudSettings
    word_map: WordMap | None = None

    @property
    def reference(self) -> str:
        """`cloud:<service>@<hash of the settings>`: what a table names as its model."""
        return f"{PREFIX}{self.settings.service}@{content_version(self.settings.key, self._map_key)}"

    @property
    def _map_key(self) -> str:
        return self.word_map.key if self.word_map else ""

    def rows_key(self, plan: ScorePlan) -> str:
        """A hash of what every row depends on besides its file.

        Args:
            plan: Of the table.
        """
        pixels = plan.decoder.fingerprint if plan.decoder else ""
        return content_version(_CODE_VERSION, self.reference, plan.folder, plan.top_k, pixels)

    def values(self, answer: Answer, top_k: int) -> dict[str, Any]:
        """The columns that an answer fills.

        Args:
            answer: The service's.
            top_k: Words or classes to keep.
        """
        words = self.word_map.classes_of(answer.words) if self.word_map else answer.words
        first = words[0] if words else None
        return {
            "label": first.text if first else None,
            "confidence": first.confidence if first else 0.0,
            "abstained": first is None,
            "top_k": [{"label": word.text, "probability": word.confidence} for word in words[:top_k]],
        }


class Caller:
    """Asks a service about files, each image once, however many files or runs have it. Thread-safe.

    Args:
        service: Is asked.
        asked: With which settings.
        answers: Those of earlier runs.
        spending: Its limits.
    """

    def __init__(self, service: CloudService, asked: Asked, answers: Answers, spending: Spending) -> None:
        self._service, self._answers = service, answers
        self.asked, self.spending = asked, spending
        self._one_each: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def answer(self, sha256: str, decoded: Decoded) -> Answer:
        """What the service says of an image.

        Args:
            sha256: Of its file.
            decoded: Its pixels.

        Raises:
            NoAnswerError: where it refuses this one.
            WorkError: where it does not answer now, or a limit is reached.
            InputError: where it refuses the credentials.
        """
        with self._alone(sha256):
            if (found := self._answers.get(sha256)) is not None:
                return found
            raise_if_stopped()
            self.spending.begin()
            try:
                answer = self._service.ask(picture(decoded))
            except UnavailableError as error:
                raise WorkError(
                    f"{PREFIX}{self.asked.settings.service} does not answer ({error}). All answers so far are kept: "
                    "start the same command again later."
                ) from None
            self._answers.keep(sha256, answer)
            self.spending.end(answer)
            return answer

    @contextmanager
    def _alone(self, sha256: str) -> Iterator[None]:
        with self._lock:
            lock = self._one_each.setdefault(sha256, threading.Lock())
        with lock:
            yield
        with self._lock:
            self._one_each.pop(sha256, None)


def picture(decoded: Decoded) -> bytes:
    """What is sent of an image: a JPEG of its pixels, and nothing else.

    Args:
        decoded: By the policy of the settings.
    """
    return encode_jpeg(Image.fromarray(decoded.pixels), _QUALITY)


def plan_asking(request: ScoreRequest, asked: Asked) -> ScorePlan:
    """List the files of a folder and write the plan; the caller holds the lock of the table's work folder.

    Args:
        request: What is asked for; its bundle is not used.
        asked: The service.

    Raises:
        InputError: where the folder has no files, or the table is another folder's or, without `rescore`, another's.
    """
    table = request.out.paths
    request.out.fetch()
    refuse_other_table(request, asked.reference)
    entries = files_of(request)
    first = next(entries, None)
    if first is None:
        raise InputError(f"{request.folder} holds no files. Give the folder that holds the images.")
    with atomic_file(table.planned_files) as planned:
        num_files = write_plan(planned, chain([first], entries), request.rows_per_part)
        plan = ScorePlan(
            folder=image_folder(request.folder).reference,
            listed=isinstance(request.folder, NamedFiles),
            bundle=asked.reference,
            num_files=num_files,
            rows_per_part=request.rows_per_part,
            engine="service",
            top_k=request.top_k if isinstance(request.top_k, int) else asked.settings.max_words,
            decoder=decoder(),
        )
        with pq.ParquetFile(planned) as listed:
            keys = RowKeys(asked.rows_key(plan), plan.folder)
            keep_rows(table, listed, keys, request.retry_quarantined)
    write_json(table.plan, plan.model_dump(mode="json"))
    request.out.share_plan()
    return plan


def estimate(request: ScoreRequest, asked: Asked, answers: Answers) -> Estimate:
    """How many requests the files of a folder need: each is read and hashed, and a few are decoded.

    Args:
        request: What is asked for.
        asked: The service.
        answers: Those of earlier runs.
    """
    folder, policy = image_folder(request.folder), asked.settings.policy
    unknown: set[str] = set()
    sizes: list[int] = []
    num_files = 0
    for entry in files_of(request):
        num_files += 1
        contents = read_contents(folder, {"reason": entry.reason, "os_path": entry.os_path}, policy)
        if not isinstance(contents, bytes):
            continue
        sha256 = hashlib.sha256(contents).hexdigest()
        if sha256 in unknown or answers.get(sha256) is not None:
            continue
        unknown.add(sha256)
        if len(sizes) < _SAMPLE:
            try:
                sizes.append(len(picture(decode_unwatched(None, contents, policy))))
            except ImageError:
                unknown.discard(sha256)
    return Estimate(asked.settings, num_files, len(unknown), sum(sizes) // max(1, len(sizes)))


def ask_part(out: TablePaths, index: int, caller: Caller) -> PartDone:
    """Ask about the files of one part and write it; what is there already stays.

    Args:
        out: The table, for which there is a plan.
        index: The part, from 0.
        caller: Asks.

    Raises:
        WorkError: where the service does not answer, or a limit is reached; answers are kept.
        InputError: where it refuses the credentials.
    """
    plan = read_plan(out)
    files = read_group(out.planned_files, index).to_pylist()
    facts = _facts(plan, caller.asked, index, files)
    final = out.part(index)
    if is_done(final, facts.part_key):
        return PartDone(index, len(files), len(files))
    known = known_rows(out, files, facts.rows_key)
    began = time.time()
    folder = plan.images
    with (
        watched_decode(out.work, index, [file["path"] for file in files]) as decode,
        ThreadPoolExecutor(caller.asked.settings.num_callers) as pool,
    ):

        def row(file: dict[str, Any]) -> dict[str, Any]:
            return known.get(file["path"]) or _row(folder, file, caller, decode, plan.top_k)

        rows = list(pool.map(row, files))
    write_part(final, as_table(rows), facts, out.work)
    return PartDone(index, len(files), len(known), began, time.time())


def _row(folder: ImageFolder, file: dict[str, Any], caller: Caller, decode: Decode, top_k: int) -> dict[str, Any]:
    policy = caller.asked.settings.policy
    made: dict[str, Any] = {"path": file["path"], "sha256": None, "status": QUARANTINED}
    contents = read_contents(folder, file, policy)
    if not isinstance(contents, bytes):
        reason = contents.reason if isinstance(contents, ImageError) else "unreadable"
        return {**made, "reason": reason}
    made["sha256"] = hashlib.sha256(contents).hexdigest()
    try:
        decoded = decode(file["path"], contents, policy)
        size = {"width": decoded.width, "height": decoded.height}
        answer = caller.answer(made["sha256"], decoded)
    except ImageError as error:
        return {**made, "reason": error.reason}
    except NoAnswerError:
        return {**made, **size, "reason": "no_answer"}
    return {**made, **size, "status": OK, **caller.asked.values(answer, top_k)}


def _facts(plan: ScorePlan, asked: Asked, index: int, files: list[dict[str, Any]]) -> PartFacts:
    key, stamps = asked.rows_key(plan), tuple(stamp(file) for file in files)
    return PartFacts(
        folder=plan.folder,
        listed=plan.listed,
        bundle=plan.bundle,
        precision=plan.precision,
        engine=plan.engine,
        embedding_size=None,
        top_k=plan.top_k,
        decode_policy=asked.settings.policy,
        decoder=plan.decoder,
        first_row=index * plan.rows_per_part,
        num_rows=len(files),
        rows_key=key,
        part_key=part_key(key, stamps),
        stamps=stamps,
    )
