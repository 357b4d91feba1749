"""`run.json`: the run, settings and library versions that produced an output.

It is not part of the card: the card of the same content has the same bytes, whoever made it and when.
"""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from darkroom.data.files.atomic import remove_unfinished, write_json
from darkroom.data.files.names import RUN_RECORD

_LIBRARIES = (
    "darkroom-flows",
    "keras",
    "numpy",
    "onnxruntime",
    "optuna",
    "pandas",
    "pillow",
    "prefect",
    "pyarrow",
    "scikit-learn",
    "tensorflow",
    "tf2onnx",
)


class LibraryVersion(BaseModel):
    """A library that can affect the result.

    Attributes:
        name: Of its distribution, as pip knows it.
        version: As installed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str


class RunRecord(BaseModel):
    """What `run.json` holds.

    Attributes:
        flow: The flow that made the output.
        run_id: Prefect's ID of the flow run; None outside Prefect.
        finished_at: UTC, ISO 8601.
        settings: All of them, resolved.
        python: Python's version.
        machine: System and architecture.
        libraries: Versions of those that can affect the result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    flow: str
    run_id: str | None
    finished_at: str
    settings: dict[str, Any]
    python: str
    machine: str
    libraries: tuple[LibraryVersion, ...]


def library_versions() -> tuple[LibraryVersion, ...]:
    """The installed versions; a library that is not installed is left out."""
    found = []
    for name in _LIBRARIES:
        try:
            found.append(LibraryVersion(name=name, version=version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)


def run_record(flow: str, run_id: str | None, settings: dict[str, Any]) -> RunRecord:
    """The record of a run that ends now.

    Args:
        flow: The flow that made the output.
        run_id: Prefect's ID of the flow run; None outside Prefect.
        settings: All of them, resolved; JSON-able.
    """
    return RunRecord(
        flow=flow,
        run_id=run_id,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=settings,
        python=platform.python_version(),
        machine=f"{platform.system()} {platform.machine()}",
        libraries=library_versions(),
    )


def write_run_record(folder: Path, flow: str, run_id: str | None, settings: dict[str, Any]) -> RunRecord:
    """Write `run.json` into an output's folder, whole or not at all.

    Args:
        folder: The output's folder.
        flow: As in `run_record`.
        run_id: As in `run_record`.
        settings: As in `run_record`.

    Returns:
        What was written.
    """
    record = run_record(flow, run_id, settings)
    write_json(folder / RUN_RECORD, record.model_dump(mode="json"))
    return record


def complete_run_record(folder: Path, flow: str, run_id: str | None, settings: dict[str, Any]) -> None:
    """Write `run.json` where the run that made the output was killed before it could.

    Args:
        folder: The output's folder, locked by the caller.
        flow: As in `run_record`.
        run_id: As in `run_record`.
        settings: As in `run_record`.
    """
    remove_unfinished(folder)
    if not (folder / RUN_RECORD).is_file():
        write_run_record(folder, flow, run_id, settings)
