"""What is installed, reachable and configured, and what to do about what is not. Nothing here changes anything."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.text import Text

from darkroom.data.errors import DarkroomError, InputError
from darkroom.data.figures import count, size
from darkroom.data.stores.storage import EXTRAS, PACKAGES, list_objects
from darkroom.data.stores.workspace import Workspace
from darkroom.flows.server_health import server_health

_DISTRIBUTION = "darkroom-flows"
_PACKAGES = (
    "prefect",
    "sqlalchemy",
    "tensorflow",
    "keras",
    "onnxruntime",
    "tf2onnx",
    "pillow",
    "pyarrow",
    "scikit-learn",
)
_ROOM_NEEDED_BYTES = 2 * 2**30
_KAGGLE = ("www.kaggle.com", 443)


class Finding(BaseModel):
    """One result of the examination.

    Attributes:
        subject: What was checked.
        status: `ok`, `note` (works without) or `missing` (does not work without).
        found: What was found.
        remedy: What to do about it, or "".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: str
    status: str
    found: str
    remedy: str = ""


class Examination(BaseModel):
    """All results.

    Attributes:
        findings: In the order of the checks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    findings: tuple[Finding, ...]


def examine(workspace: Workspace) -> Examination:
    """Run every check; one that fails itself becomes a finding."""
    checks: Sequence[tuple[str, Callable[[], Finding]]] = (
        ("python", _python),
        ("packages", _packages),
        ("processors", _processors),
        ("gpu", _gpu),
        ("weights", _weights),
        ("workspace", lambda: _workspace(workspace)),
        ("stores", _stores),
        ("prefect", _prefect),
        ("runner", _runner),
        ("kaggle account", _kaggle_account),
        ("kaggle", _kaggle),
    )
    return Examination(findings=tuple(_checked(subject, check) for subject, check in checks))


def show_findings(examination: Examination, as_json: bool) -> int:
    """Print the findings; returns the exit status, 1 where something needed is missing.

    Args:
        examination: What to print.
        as_json: As one JSON object on standard output.
    """
    if as_json:
        sys.stdout.write(examination.model_dump_json() + "\n")
    else:
        console = Console(highlight=False)
        for finding in examination.findings:
            style = {"ok": "green", "note": "yellow"}.get(finding.status, "red")
            status = Text(f"{finding.status:<9}", style)
            # The terminal breaks what is too long for it, so that an address or a command can be copied.
            console.print(status + Text(f"{finding.subject:<16}{finding.found}"), soft_wrap=True)
            if finding.remedy:
                console.print(Text(f"{'':<25}{finding.remedy}"), soft_wrap=True)
    return 1 if any(finding.status == "missing" for finding in examination.findings) else 0


def _checked(subject: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except DarkroomError as error:
        return Finding(subject=subject, status="missing", found=str(error))
    except Exception as error:
        return Finding(subject=subject, status="missing", found=f"could not be checked: {type(error).__name__}")


def _python() -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    remedy = "" if fits else "TensorFlow has wheels for 3.11, 3.12 and 3.13: create the environment with one of them."
    return Finding(subject="python", status="ok" if fits else "missing", found=found, remedy=remedy)


def _packages() -> Finding:
    found, absent = [], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            absent.append(name)
    if absent:
        remedy = "Install from requirements.lock: python -m pip install -r requirements.lock"
        return Finding(subject="packages", status="missing", found=f"not installed: {', '.join(absent)}", remedy=remedy)
    untested = untested_packages()
    if untested:
        named = ", ".join(f"{name} {found} (tested: {tested})" for name, found, tested in untested)
        wanted = " ".join(f"'{name}{tested}'" for name, _, tested in untested)
        return Finding(
            subject="packages",
            status="missing",
            found=f"not the versions that Darkroom was tested with: {named}",
            remedy=f"python -m pip install {wanted}",
        )
    return Finding(subject="packages", status="ok", found=", ".join(found))


def untested_packages() -> list[tuple[str, str, str]]:
    """Name, installed version and tested range of each package that is installed in a version outside its range."""
    outside = []
    for text in requires(_DISTRIBUTION) or []:
        wanted = Requirement(text)
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            outside.append((wanted.name, found, str(wanted.specifier)))
    return sorted(set(outside))


def _processors() -> Finding:
    from darkroom.data.parallel import num_cpus

    return Finding(subject="processors", status="ok", found=f"{num_cpus()} that this process may use")


def _gpu() -> Finding:
    from darkroom.flows.quiet import load_tensorflow

    load_tensorflow()
    import tensorflow as tf

    names = [device.name for device in tf.config.list_physical_devices("GPU")]
    if names:
        return Finding(subject="gpu", status="ok", found=", ".join(names))
    remedy = "Not needed. With an NVIDIA GPU: python -m pip install 'darkroom-flows[gpu]'"
    return Finding(subject="gpu", status="note", found="none that TensorFlow can use", remedy=remedy)


def _weights() -> Finding:
    from darkroom.models.networks.efficientnet_lite import LITE0
    from darkroom.models.networks.pretrained_weights import PUBLISHED, check_weights

    installed, remedy = list[str](), ""
    for network in PUBLISHED:
        try:
            check_weights(network)
            installed.append(network)
        except InputError as error:  # without EfficientNet-Lite0, the default, little works
            if network == LITE0:
                raise
            remedy = str(error)
    cache = Path.home() / ".keras" / "models"
    others = sorted(path.name for path in cache.glob("*notop*")) if cache.is_dir() else []
    others_text = f"; in Keras's cache: {', '.join(others)}" if others else ""
    found = f"{', '.join(installed)} installed{others_text}"
    return Finding(subject="weights", status="note" if remedy else "ok", found=found, remedy=remedy)


def _workspace(workspace: Workspace) -> Finding:
    existing = next(path for path in (workspace.root, *workspace.root.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    where = f"{workspace.reference}, its copy in {workspace.root}" if workspace.mirror else workspace.root
    found = f"{where}, {size(free)} free"
    if not os.access(existing, os.W_OK):
        remedy = "Choose another with --workspace or DARKROOM_WORKSPACE."
        return Finding(subject="workspace", status="missing", found=f"{found}, not writable", remedy=remedy)
    if free < _ROOM_NEEDED_BYTES:
        return Finding(
            subject="workspace", status="note", found=found, remedy="Free some disk space: shards and features need it."
        )
    if workspace.mirror:
        next(list_objects(workspace.mirror.url), None)  # or it raises a sentence that says what is wrong
    return Finding(subject="workspace", status="ok", found=found)


def _stores() -> Finding:
    """The kinds of URLs whose packages are installed."""
    schemes: dict[str, list[str]] = {}
    for scheme, extra in EXTRAS.items():
        schemes.setdefault(extra, []).append(f"{scheme}://")
    there = [extra for extra, package in PACKAGES.items() if find_spec(package)]
    found = ", ".join(scheme for extra in there for scheme in schemes[extra])
    if len(there) == len(PACKAGES):
        return Finding(subject="stores", status="ok", found=found)
    absent = ",".join(extra for extra in PACKAGES if extra not in there)
    remedy = f"Needed only for URLs of other stores: python -m pip install 'darkroom-flows[{absent}]'"
    return Finding(subject="stores", status="note", found=found or "none: local folders only", remedy=remedy)


def _prefect() -> Finding:
    import httpx
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if not url:
        remedy = "To watch runs in the UI: 'darkroom server', then set PREFECT_API_URL=http://127.0.0.1:4200/api"
        found = f"no server set: each command starts its own, with its record in {get_current_settings().home}"
        return Finding(subject="prefect", status="note", found=found, remedy=remedy)
    try:
        httpx.get(f"{url}/health", timeout=5).raise_for_status()
    except httpx.HTTPError as error:
        remedy = "Start it with 'darkroom server', or unset PREFECT_API_URL."
        return Finding(subject="prefect", status="missing", found=f"{url}: {type(error).__name__}", remedy=remedy)
    try:
        return _scheduler(url)
    except httpx.HTTPStatusError as error:
        if error.response.status_code != HTTPStatus.UNAUTHORIZED:
            raise
        remedy = "Set PREFECT_API_AUTH_STRING to the user:password of its PREFECT_SERVER_API_AUTH_STRING."
        return Finding(subject="prefect", status="missing", found=f"{url}: it refuses this password", remedy=remedy)


def _scheduler(url: str) -> Finding:
    """Whether the server has created the runs that its schedules ask for, and whether a worker executes them."""
    health = server_health(url)
    if health.unscheduled:
        found = f"server at {url}; its scheduler has made no run for {', '.join(health.unscheduled)}"
        remedy = (
            "Look for ERROR lines in the server's log, check its packages with 'darkroom doctor' there, restart it."
        )
        return Finding(subject="prefect", status="missing", found=found, remedy=remedy)
    schedules = f"{health.num_schedules} active schedule{'' if health.num_schedules == 1 else 's'}"
    found = f"server at {url}; {schedules}" + (", next runs scheduled" if health.num_schedules else "")
    if health.num_late:
        late = "1 run is late" if health.num_late == 1 else f"{health.num_late} runs are late"
        remedy = "Start a worker: prefect worker start --pool darkroom --type process"
        return Finding(subject="prefect", status="note", found=f"{found}; {late}", remedy=remedy)
    return Finding(subject="prefect", status="ok", found=found)


def _runner() -> Finding:
    from darkroom.data.parallel import num_cpus
    from darkroom.flows.runners import choose_runner, configured_runner, num_cluster_slots

    runner = configured_runner(None, None)
    if runner.address is None:
        share = "all" if runner.kind == "threads" else max(1, num_cpus() // runner.max_workers)
        found = f"{runner.max_workers} {runner.kind} execute parts, each with {share} of the processors"
        return Finding(subject="runner", status="ok", found=found)
    try:
        slots = num_cluster_slots(choose_runner(None, None))
    except InputError as error:
        remedy = "Or use this machine: unset DARKROOM_RUNNER."
        return Finding(subject="runner", status="missing", found=str(error), remedy=remedy)
    found = f"{runner.kind} at {runner.address}, {count(slots, 'part')} at once"
    if slots == 0:
        return Finding(subject="runner", status="note", found=found, remedy="Start workers: parts are waiting.")
    return Finding(subject="runner", status="ok", found=found)


def _kaggle_account() -> Finding:
    if find_spec("kagglehub") is None:
        return Finding(subject="kaggle account", status="note", found="kagglehub is not installed")
    from kagglehub.config import get_kaggle_credentials

    try:
        known = get_kaggle_credentials() is not None
    except (OSError, ValueError):
        return Finding(
            subject="kaggle account",
            status="note",
            found="the credentials cannot be read",
            remedy="Set KAGGLE_API_TOKEN, or repair ~/.kaggle/kaggle.json.",
        )
    if known:
        return Finding(subject="kaggle account", status="ok", found="credentials are set")
    remedy = "Public data sets need none. For competitions and private data set KAGGLE_API_TOKEN."
    return Finding(subject="kaggle account", status="note", found="none set", remedy=remedy)


def _kaggle() -> Finding:
    try:
        socket.create_connection(_KAGGLE, timeout=3).close()
    except OSError:
        remedy = "Only kaggle:… sources need it. Behind a proxy set HTTPS_PROXY, or download the archive elsewhere."
        return Finding(subject="kaggle", status="note", found=f"{_KAGGLE[0]} cannot be reached", remedy=remedy)
    return Finding(subject="kaggle", status="ok", found=f"{_KAGGLE[0]} can be reached")
