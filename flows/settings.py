"""Settings from the environment; the only module of the product that reads or sets it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from darkroom.data.errors import SettingError, SourceError
from darkroom.data.files.hashing import content_version
from darkroom.data.settings import DecoderMismatch
from darkroom.data.stores.listing import printable
from darkroom.data.stores.mirror import Mirror
from darkroom.data.stores.named_files import NamedFiles
from darkroom.data.stores.storage import Url, place_from
from darkroom.data.stores.workspace import Workspace, name_from

if TYPE_CHECKING:
    from darkroom.data.stores.folders import Images
    from darkroom.models.cloud.service import Access
    from darkroom.models.prediction_table.output import TableOutput

RunnerKind = Literal["threads", "processes", "dask", "ray"]

_DEFAULTS = {
    "PREFECT_LOGGING_EXTRA_LOGGERS": "darkroom",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # SQLite under a busy disk: wait for a lock, do not fail on it.
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    # The UI asks the server that it comes from; unless told so it asks port 4200 of the browser's own machine.
    "PREFECT_UI_API_URL": "/api",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # A process takes no more of a GPU than it needs: the one who starts workers leaves it to them.
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
}


class Settings(BaseSettings):
    """`DARKROOM_…` variables."""

    model_config = SettingsConfigDict(env_prefix="DARKROOM_", frozen=True)

    workspace: str = Field(default="workspace", description="Folder of all results, or its URL")
    cache: Path = Field(
        default_factory=lambda: Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "darkroom",
        description="Folder for local copies of object stores (default: darkroom in XDG_CACHE_HOME or ~/.cache)",
    )
    runner: RunnerKind = Field(default="threads", description="How the parts of a flow are executed (flows/runners.py)")
    runner_address: str | None = Field(default=None, description="Address of a Dask or Ray cluster")
    max_workers: int | None = Field(
        default=None,
        ge=1,
        description="Threads or processes that execute parts at once (default: two threads, each of which uses all "
        "processors by itself, or one process per processor)",
    )
    settle_seconds: float = Field(
        default=60,
        ge=0,
        description="A file of an inbox that was changed within so many seconds may still be written: it waits",
    )
    time_zone: str | None = Field(
        default=None, description="Time zone that says which night a run of an inbox is (default: the machine's own)"
    )
    wait_seconds: float = Field(
        default=300, ge=0, description="How long a run of an inbox waits for another one that writes the same table"
    )
    checkout: Path | None = Field(
        default=None,
        description="On a worker: where relative paths of deployed runs start (default: where the worker was started)",
    )
    notify: SecretStr | None = Field(
        default=None, description="Where `darkroom deploy` has the server send messages of incidents: as --notify"
    )
    database: SecretStr | None = Field(
        default=None, description="The server's database, such as postgresql://USER@HOST/NAME (default: SQLite)"
    )
    database_password: SecretStr | None = Field(default=None, description="Its password")
    database_password_file: Path | None = Field(default=None, description="A file that holds nothing but its password")
    decoder_mismatch: DecoderMismatch = Field(
        default="warn",
        description="What to do where images, rows or a model come from a decoder that gives other pixels than the one "
        "installed here: warn, or strict, which refuses",
    )
    api_keys: SecretStr = Field(
        default=SecretStr(""), description="API keys of a service (darkroom serve), separated by commas"
    )


def serving_keys() -> str:
    """The API keys that `DARKROOM_API_KEYS` names, one per line."""
    return Settings().api_keys.get_secret_value().replace(",", "\n")


def decoder_rule(given: DecoderMismatch | None = None) -> DecoderMismatch:
    """What happens where decoders differ: as given, as `DARKROOM_DECODER_MISMATCH` says, or `warn`."""
    return given or Settings().decoder_mismatch


def work_folder() -> Path | None:
    """The folder at which relative paths of deployed runs start; None where it cannot be known.

    As `DARKROOM_CHECKOUT` says, or where the worker was started: it is the parent of the process that prepares a run,
    which itself is in a folder that will be removed.
    """
    if given := Settings().checkout:
        return given.expanduser()
    try:
        return Path(f"/proc/{os.getppid()}/cwd").readlink()
    except OSError:  # no Linux, or the worker has died
        shell = os.environ.get("PWD")
        return Path(shell) if shell else None


def notify_url(given: str | None) -> SecretStr | None:
    """Where messages of incidents go: as given, or as `DARKROOM_NOTIFY` says."""
    return SecretStr(given) if given else Settings().notify


@dataclass(frozen=True)
class InboxRules:
    """How runs of an inbox take time: as given, as `DARKROOM_…` says, or the defaults."""

    settle_seconds: float
    time_zone: str | None
    wait_seconds: float


def inbox_rules(
    settle_seconds: float | None = None, time_zone: str | None = None, wait_seconds: float | None = None
) -> InboxRules:
    """The rules; what is None is taken from the environment."""
    found = Settings()
    return InboxRules(
        found.settle_seconds if settle_seconds is None else settle_seconds,
        time_zone or found.time_zone,
        found.wait_seconds if wait_seconds is None else wait_seconds,
    )


def open_workspace(given: str | None) -> Workspace:
    """The workspace as given, a path or a URL, as `DARKROOM_WORKSPACE` says, or `./workspace`."""
    place = place_from(given or Settings().workspace)
    if isinstance(place, Path):
        return Workspace(place.resolve())
    mirror = open_mirror(place)
    return Workspace(mirror.folder, mirror)


def open_mirror(url: Url) -> Mirror:
    """The mirror, in the cache, of a folder in a store."""
    base = Settings().cache.expanduser().resolve() / f"{name_from(url.path)}-{content_version(str(url))}"
    return Mirror(url, base)


def training_cluster() -> tuple[tuple[str, ...], int] | None:
    """The addresses of all machines that train together, the chief's first, and this one's position among them.

    As `TF_CONFIG` says, which Kubernetes's TFJob and others set; None where it names no more than one.

    Raises:
        SettingError: where it cannot be parsed, or names another role than a chief's or a worker's.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return None
    try:
        config = json.loads(text)
        chiefs, workers = ([str(each) for each in config["cluster"].get(kind, [])] for kind in ("chief", "worker"))
        addresses = (*chiefs, *workers)
        kind, index = str(config["task"]["type"]), int(config["task"]["index"])
        place = {"chief": 0, "worker": len(chiefs)}[kind] + index
        if len(chiefs) > 1 or not 0 <= place < len(addresses) or (kind == "chief" and index):
            raise IndexError(place)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise SettingError(
            'TF_CONFIG does not say who trains together. Write {"cluster": {"worker": ["HOST:PORT", ...]}, "task": '
            '{"type": "worker", "index": 0}}, with at most one "chief" beside the workers, or unset it.'
        ) from None
    return (addresses, place) if len(addresses) > 1 else None


def open_folder(given: str | None, default: Path, workspace: Workspace) -> tuple[Path, Workspace]:
    """The folder of an output, and the workspace by which it gets to its store.

    Args:
        given: A path or a URL; None for the default.
        default: Its folder in the workspace.
        workspace: The workspace.
    """
    place = place_from(given) if given else default
    if isinstance(place, Url):
        mirror = open_mirror(place)
        return mirror.folder, Workspace(mirror.folder, mirror)
    return (place.resolve() if given else default), workspace


def table_name(images: Images, bundle: Path) -> str:
    """A name for what is made of images by a model: `<images>-<model>-<version>`.

    Args:
        images: What is scored.
        bundle: The bundle's folder.
    """
    name = images.name if isinstance(images, NamedFiles) else name_from(_reference(images))
    return f"{name}-{bundle.parent.name}-{bundle.name}"


def default_table(images: Images, bundle: Path, workspace: Workspace) -> Path:
    """The folder in the workspace of the table of some images and a version of a model.

    Args:
        images: What is scored.
        bundle: The bundle's folder.
        workspace: The workspace.
    """
    if isinstance(images, NamedFiles):
        return workspace.scores / table_name(images, bundle)
    from darkroom.models.prediction_table import default_output

    return default_output.default_table(workspace, _reference(images), f"{bundle.parent.name}-{bundle.name}")


def default_inbox_table(images: Path | Url, bundle: Path, workspace: Workspace) -> Path:
    """The folder in the workspace of an inbox's table, which all versions of a model share; arguments as above."""
    from darkroom.models.prediction_table import default_output

    return default_output.default_table(workspace, _reference(images), bundle.parent.name)


def default_cloud_table(images: Images, service: str, workspace: Workspace) -> Path:
    """The folder in the workspace of the table of some images and a recognition service; arguments as above."""
    from darkroom.models.prediction_table import default_output

    if isinstance(images, NamedFiles):
        return workspace.scores / f"{images.name}-cloud-{service}"
    return default_output.default_table(workspace, _reference(images), f"cloud-{service}")


def cloud_access() -> Access:
    """What the vendors' clients do not read of the environment by themselves."""
    from darkroom.models.cloud.service import Access

    found = os.environ.get
    return Access(found("DARKROOM_GOOGLE_VISION_ENDPOINT"), found("VISION_ENDPOINT"), found("VISION_KEY"))


def _reference(images: Path | Url) -> str:
    return str(images.resolve() if isinstance(images, Path) else images)


def open_table(given: str | None, default: Path, workspace: Workspace) -> TableOutput:
    """Where a prediction table goes.

    Args:
        given: A path or a URL; None for the default.
        default: Its folder in the workspace.
        workspace: The workspace.

    Raises:
        SettingError: where the URL names a bucket and no folder in it.
    """
    from darkroom.models.prediction_table.output import TableOutput

    place = place_from(given) if given else default
    if isinstance(place, Url):
        if place.parent == place:
            raise SettingError(f"{place} is a whole bucket. Give a folder in it, such as {place}/scored.")
        mirror = open_mirror(place.parent)
        return TableOutput(mirror.folder / place.name, mirror)
    return TableOutput(place.resolve()) if given else TableOutput(default, workspace.mirror)


def local_copy(image: str) -> Path:
    """A file as given, or downloaded where it is a URL.

    Raises:
        SourceError: where there is no such file.
    """
    place = place_from(image)
    if isinstance(place, Path):
        if not place.is_file():
            name = repr(printable(str(place)))
            raise SourceError(f"{name} is a folder." if place.is_dir() else f"There is no file {name}. Check the path.")
        return place
    mirror = open_mirror(place.parent)
    if not mirror.pull_one(place.name):
        raise SourceError(f"There is nothing at {place}. Check the URL.")
    return mirror.folder / place.name


def prepare_environment(console_level: str) -> None:
    """Set what Prefect and TensorFlow read when they are imported; what the user has set is kept."""
    for name, value in {**_DEFAULTS, "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": console_level}.items():
        os.environ.setdefault(name, value)


def name_database(given: str | None) -> None:
    """Tell Prefect's server, in this process, which database to use; none: what Prefect's own settings say.

    Args:
        given: A URL; None for what `DARKROOM_DATABASE` says.

    Raises:
        SettingError: where the URL is not one of PostgreSQL, or the file of the password cannot be read.
    """
    found = Settings()
    text = given or (found.database.get_secret_value() if found.database else None)
    if not text:
        return
    from prefect.context import refresh_global_settings_context
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.get_backend_name() not in ("postgresql", "postgres"):
        raise SettingError("The database is given as postgresql://USER@HOST:PORT/NAME; without one it is SQLite.")
    url = url.set(drivername="postgresql+asyncpg", password=_database_password(found) or url.password)
    os.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = url.render_as_string(hide_password=False)
    refresh_global_settings_context()


def _database_password(found: Settings) -> str | None:
    if found.database_password_file:
        try:
            return found.database_password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(
                f"The database's password cannot be read from {found.database_password_file}, which "
                f"DARKROOM_DATABASE_PASSWORD_FILE names: {getattr(error, 'strerror', None) or 'it is not UTF-8'}."
            ) from None
    return found.database_password.get_secret_value() if found.database_password else None


def name_server(api_url: str, auth: SecretStr | None = None) -> None:
    """Tell Prefect, in this process and in those that it starts, where an API without a UI is, and what it asks for.

    Args:
        api_url: Of the API.
        auth: `user:password`, where it asks for one.
    """
    from prefect.context import refresh_global_settings_context

    os.environ["PREFECT_API_URL"] = api_url
    if auth:
        os.environ["PREFECT_API_AUTH_STRING"] = auth.get_secret_value()
    os.environ["PREFECT_UI_URL"] = ""  # or its log names a page that is not there
    refresh_global_settings_context()
