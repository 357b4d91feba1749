"""Data sets and competitions from Kaggle, through `kagglehub`: its cache, resumed downloads and credentials.

What this adds: one plain sentence for whatever can go wrong, a download that goes on after a cut, and a damaged archive
that is thrown away (`kagglehub` would take it for complete for ever). No message repeats what the server or the HTTP
library said: that text can hold signed addresses.
"""

from __future__ import annotations

import itertools
import logging
import re
import shutil
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.data.errors import SourceError, WorkError

if TYPE_CHECKING:
    from kagglehub.handle import ResourceHandle
    from requests import HTTPError

# kagglehub, kagglesdk and requests are imported where they are used: 0.5 s that only Kaggle sources should cost.

logger = logging.getLogger(__name__)

_DATASET = re.compile(r"([A-Za-z0-9][\w-]*)/([A-Za-z0-9][\w-]*)(?:/versions/([1-9]\d{0,8}))?", re.ASCII)
_COMPETITION = re.compile(r"competitions/([A-Za-z0-9][\w-]*)", re.ASCII)
_WEB = "https://www.kaggle.com"
_TIMEOUT_SECONDS = (5, 15)  # to connect, between two bytes: as kagglehub's own
_MAX_TRIES = 4
_PAUSE_SECONDS = 0.5
_ACCOUNT = (
    f"make a token at {_WEB}/settings/api and set KAGGLE_API_TOKEN to it, or keep an API key in ~/.kaggle/kaggle.json, "
    "or call kagglehub.login() where you work in Python"
)
# What the unpacking inside kagglehub raises for bytes that are no whole archive.
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, ValueError, RuntimeError)


@dataclass(frozen=True)
class Fetched:
    """What came from Kaggle.

    Attributes:
        folder: In kagglehub's cache (`KAGGLEHUB_CACHE`, by default `~/.cache/kagglehub`); not to be written to.
        name: Of the data set or competition.
        licence: As the data set's page says it; None for a competition, or where Kaggle could not be asked.
    """

    folder: Path
    name: str
    licence: str | None = None


def fetch(handle: str) -> Fetched:
    """Download and unpack a data set or competition, or find it in kagglehub's cache.

    Args:
        handle: `owner/dataset` (its newest version), `owner/dataset/versions/N` or `competitions/NAME`.

    Raises:
        SourceError: where the handle is malformed, Kaggle cannot be reached, wants an account, has no such data set,
            or sent something broken.
        WorkError: where the cache cannot be written to.
    """
    with _nothing_on_standard_output():
        _check_credentials()
        if match := _COMPETITION.fullmatch(handle):
            return _fetch_competition(match[1])
        if match := _DATASET.fullmatch(handle):
            return _fetch_dataset(match[1], match[2], int(match[3]) if match[3] else None)
    raise SourceError(
        f"'kaggle:{handle}' is not a Kaggle source. Write kaggle:owner/dataset, kaggle:owner/dataset/versions/N or "
        "kaggle:competitions/NAME, as in the address of its page."
    )


def _fetch_competition(name: str) -> Fetched:
    from kagglehub import competition_download
    from kagglehub.cache import Cache
    from kagglehub.config import get_kaggle_credentials
    from kagglehub.handle import CompetitionHandle

    handle = CompetitionHandle(name)
    source, page = f"kaggle:competitions/{name}", f"{_WEB}/competitions/{name}"
    cached = Cache().load_from_cache(handle)
    if not cached and not get_kaggle_credentials():
        raise SourceError(
            f"{source} needs a Kaggle account that has accepted the competition's rules: accept them at "
            f"{page}/rules, then {_ACCOUNT}."
        )
    try:
        with _explained(source, page):
            _touch_network()
    except SourceError as error:
        if not cached:
            raise
        logger.info("Using the cached copy of %s: %s", source, error)
        return Fetched(Path(cached).absolute(), name)
    return Fetched(_download(lambda: competition_download(name), handle, source, page), name)


def _fetch_dataset(owner: str, name: str, version: int | None) -> Fetched:
    from kagglehub import dataset_download
    from kagglehub.cache import Cache
    from kagglehub.handle import DatasetHandle

    handle = DatasetHandle(owner, name, version)
    source, page = f"kaggle:{handle}", f"{_WEB}/datasets/{owner}/{name}"
    cached = Cache().load_from_cache(handle) if version else None
    try:
        with _explained(source, page):
            _touch_network()
            newest, licence = _look_up(owner, name)
    except SourceError as error:
        if not cached:
            raise SourceError(f"{error}{_cached_versions(owner, name)}") from None
        logger.info("Using the cached copy of %s; its licence could not be looked up: %s", source, error)
        return Fetched(Path(cached).absolute(), name)
    handle = handle.with_version(version or newest)
    return Fetched(_download(lambda: dataset_download(str(handle)), handle, source, page), name, licence)


def _touch_network() -> None:
    """Fail within seconds where Kaggle cannot be reached; kagglesdk sets no time limit of its own."""
    import requests
    from kagglesdk.kaggle_env import get_endpoint, get_env

    requests.head(get_endpoint(get_env()), timeout=_TIMEOUT_SECONDS).close()


def _look_up(owner: str, name: str) -> tuple[int, str | None]:
    """The newest version of a data set, and its licence."""
    from kagglehub.clients import build_kaggle_client
    from kagglesdk.datasets.types.dataset_api_service import ApiGetDatasetRequest

    request = ApiGetDatasetRequest()
    request.owner_slug = owner
    request.dataset_slug = name
    with build_kaggle_client() as client:
        dataset = client.datasets.dataset_api_client.get_dataset(request)
    if not dataset.current_version_number:
        raise ValueError("no version in the answer")
    return dataset.current_version_number, dataset.license_name or None


def _download(call: Callable[[], str], handle: ResourceHandle, source: str, page: str) -> Path:
    """kagglehub's download: called again after a dropped connection (it resumes), cleaned up after damage."""
    import requests
    from kagglehub.cache import get_cached_archive_path, get_cached_path
    from kagglehub.exceptions import DataCorruptionError

    archive = Path(get_cached_archive_path(handle))
    damaged = f"What Kaggle sent for {source} is damaged ({{}}) and was deleted. Run again to download it again."
    with _explained(source, page):
        for number in itertools.count(1):
            try:
                folder = Path(call()).absolute()
                logger.info("%s is in %s", source, folder)
                return folder
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                if number == _MAX_TRIES or not archive.exists():
                    raise
                have_bytes = archive.stat().st_size
                logger.warning("The download of %s was interrupted after %d bytes: resuming.", source, have_bytes)
                time.sleep(_PAUSE_SECONDS * number)
            except requests.RequestException:
                raise
            except DataCorruptionError:
                raise SourceError(damaged.format("its checksum differs")) from None
            except _DAMAGE as error:
                archive.unlink(missing_ok=True)
                shutil.rmtree(get_cached_path(handle), ignore_errors=True)
                raise SourceError(damaged.format(f"no whole archive, {type(error).__name__}")) from None
            except OSError as error:
                raise WorkError(
                    f"{source} cannot be kept in {archive.parent}: {error.strerror}. Free space there, or set "
                    "KAGGLEHUB_CACHE to another folder."
                ) from None
    raise WorkError(f"{source} was not fetched.")  # not reached: the last try returns or raises


@contextmanager
def _explained(source: str, page: str) -> Iterator[None]:
    """Turn what kagglehub, kagglesdk and requests raise into a SourceError without their text."""
    import requests
    from kagglehub.exceptions import UnauthenticatedError

    try:
        yield
    except requests.HTTPError as error:
        raise SourceError(_refusal(_status(error), source, page)) from None
    except UnauthenticatedError:
        raise SourceError(_refusal(401, source, page)) from None
    except requests.exceptions.SSLError:
        raise SourceError(
            f"Kaggle's certificate was not accepted while fetching {source}: behind a company proxy, set "
            "REQUESTS_CA_BUNDLE to the file with its certificate."
        ) from None
    except (requests.ConnectionError, requests.Timeout):
        raise SourceError(
            f"Kaggle cannot be reached for {source}: check the network, and HTTPS_PROXY where there is a proxy, and "
            "run again; finished downloads are kept."
        ) from None
    except requests.exceptions.ChunkedEncodingError:
        raise SourceError(
            f"The download of {source} was interrupted {_MAX_TRIES} times. Run again to resume it."
        ) from None
    except (requests.RequestException, ValueError, TypeError, KeyError):
        raise SourceError(
            f"The answer for {source} did not come from Kaggle: check for a proxy or a login page in between."
        ) from None


def _status(error: HTTPError) -> int:
    """The HTTP status; some refusals of Kaggle's come as 200 with the real code in the JSON."""
    if error.response is None:
        return 0
    status = error.response.status_code
    return status if status >= 400 else int(error.response.json()["code"])


def _refusal(status: int, source: str, page: str) -> str:
    if status in (401, 403) and "/competitions/" in page:
        return (
            f"Kaggle refused {source} (HTTP {status}): accept the competition's rules at {page}/rules, and use the "
            f"account that did: {_ACCOUNT}."
        )
    if status in (401, 403):
        return (
            f"Kaggle refused {source} (HTTP {status}): it is private, asks for consent, or is not called that. Look at "
            f"{page}, and use an account that may read it: {_ACCOUNT}."
        )
    if status == 404:
        return f"Kaggle has no {source} (HTTP 404): check the spelling, and the version, at {page}."
    if status == 429:
        return f"Kaggle limits requests for {source} (HTTP 429): try again in a few minutes."
    return f"Kaggle answered HTTP {status} for {source}: try again later; finished downloads are kept."


def _cached_versions(owner: str, name: str) -> str:
    """A sentence that names the newest version in the cache, or nothing."""
    from kagglehub.cache import get_cached_path
    from kagglehub.handle import DatasetHandle

    folder = Path(get_cached_path(DatasetHandle(owner, name)))
    versions = [int(mark.stem) for mark in folder.glob("*.complete") if mark.stem.isdecimal()]
    return f" In the cache already: kaggle:{owner}/{name}/versions/{max(versions)}." if versions else ""


def _check_credentials() -> None:
    """Refuse credentials that could not even be sent: the HTTP library would repeat them in its error."""
    from kagglehub.config import get_kaggle_credentials

    try:
        credentials = get_kaggle_credentials()
    except ValueError as error:  # says which file and which key is missing, no more
        raise SourceError(f"{error}. Remove the file, or {_ACCOUNT}.") from None
    except OSError as error:
        raise SourceError(f"{error.filename} cannot be read: {error.strerror}. Allow it, or {_ACCOUNT}.") from None
    if credentials:
        for text in (credentials.api_key, credentials.username, credentials.key):
            if text and not re.fullmatch(r"[!-~]+", text):
                raise SourceError(f"The Kaggle token or key contains invalid characters: {_ACCOUNT}.")


@contextmanager
def _nothing_on_standard_output() -> Iterator[None]:
    """Standard output is for results: kagglehub writes its log and version warnings there, send both elsewhere."""
    with redirect_stdout(sys.stderr):
        import kagglehub  # noqa: F401, sets up its logger

        theirs = logging.getLogger("kagglehub")
        for handler in list(theirs.handlers):
            if type(handler) is logging.StreamHandler:
                theirs.removeHandler(handler)
        theirs.propagate = True
        yield
