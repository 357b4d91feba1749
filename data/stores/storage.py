"""Object stores (`s3://`, `gs://`, `az://`) through fsspec: URLs, listings, transfers, and failures in plain sentences.

An object appears whole or not at all: that is what a PUT, and the completion of a multipart upload, mean. Tries again
after a transient failure are those of the store's own client (botocore's, Google's, Azure's), as its settings say.
No message repeats what a server or a client said: that text can hold addresses that are signed, and account names.
"""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from darkroom.data.errors import DarkroomError, ImageError, InputError, SettingError, SourceError, WorkError
from darkroom.data.files.atomic import atomic_file
from darkroom.data.files.hashing import file_sha256
from darkroom.data.stores.listing import printable

logger = logging.getLogger(__name__)

# fsspec and its implementations are imported where they are used: 0.5 s that only URLs should cost.

# Stores in which an upload is whole or absent, the extra of this distribution that each needs, and what it installs.
EXTRAS: Mapping[str, str] = {
    "s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure",
}  # fmt: skip
PACKAGES: Mapping[str, str] = {"s3": "s3fs", "gcs": "gcsfs", "azure": "adlfs"}
MIB = 2**20
# A file of twice this size or more is uploaded in parts of it, several at once. (S3 takes 5 MiB or more.)
PART_BYTES = 16 * MIB

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_SECRET = re.compile(
    r"[A-Z][A-Z0-9+.-]*://[^/@\s]*:[^/@\s]*@"  # user:password@
    r"|(?:s3a?|gs|gcs|az|abfss?)://[^/\s]*:"  # a key, and a secret that holds a slash
    r"|[A-Z][A-Z0-9+.-]*://\S*\?\S*(?:sig|token|secret|key)\w*=",
    re.IGNORECASE,
)
_NO_SECRETS = (
    "A URL must not hold credentials: they would show in logs and results. Set them as the store's own tools expect "
    "(see docs/storage.md), a database's password in DARKROOM_DATABASE_PASSWORD, and give the URL without them."
)
_REFUSED_CODES = frozenset(
    {
        "AccessDenied", "AllAccessDisabled", "AuthorizationHeaderMalformed", "ExpiredToken", "InvalidAccessKeyId",
        "InvalidObjectState", "InvalidSecurity", "InvalidToken", "MissingSecurityHeader", "RequestTimeTooSkewed",
        "SignatureDoesNotMatch", "TokenRefreshRequired",
    }
)  # fmt: skip
# Of one object, not of whoever asks: the others can still be read.
_OF_ONE_OBJECT = frozenset({"AccessDenied", "InvalidObjectState", "NoSuchKey", "NoSuchVersion", "404", "403", ""})
_UNREACHABLE = re.compile(r"Connect|Timeout|Endpoint|ServiceRequest|ServerDisconnected|Transport|DNS", re.I)
# Azure's client raises a bare ValueError without an account, botocore for an endpoint that is no address.
_NO_CREDENTIALS = re.compile(r"Credential|Token|Auth|Profile|Signing|Region|^ValueError$", re.I)


@dataclass(frozen=True, order=True)
class Url:
    """A location in an object store; `url / "name"` is a location below it.

    Attributes:
        scheme: Such as `s3`, `gs` or `az`.
        path: Bucket and key, without a slash at either end.
    """

    scheme: str
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    def __truediv__(self, name: str) -> Url:
        return Url(self.scheme, f"{self.path}/{name}") if name else self

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> Url:
        """The location above; a bucket is its own parent."""
        return Url(self.scheme, self.path.rpartition("/")[0] or self.path)


@dataclass(frozen=True)
class ObjectFact:
    """One object of a listing.

    Attributes:
        name: Relative to the listed URL.
        size_bytes: Its size.
        etag: Changes with the content; the modification time as text where the store has no ETags.
        mtime_ns: Modification time, nanoseconds since 1970.
    """

    name: str
    size_bytes: int
    etag: str
    mtime_ns: int


def place_from(text: str) -> Path | Url:
    """Parse a path or URL; `file://` gives a path.

    Raises:
        SettingError: where the URL has an unknown scheme, names no bucket, or holds credentials.
    """
    match = _URL.fullmatch(text)
    if not match:
        return Path(text).expanduser()
    refuse_secrets(text)
    scheme, rest = match[1].lower(), match[2]
    if scheme == "file":
        if not rest.startswith("/"):
            raise SettingError(f"{printable(text)} names another machine. Write file:///folder, or the folder itself.")
        return Path(rest)
    if scheme not in EXTRAS:
        raise SettingError(
            f"{scheme}:// is not a supported file system. Give a folder, or a URL that begins with s3://, gs://, "
            "az:// or file://."
        )
    bucket, _, key = rest.partition("/")
    if ":" in bucket or ("@" in bucket and EXTRAS[scheme] != "azure"):
        raise SettingError(_NO_SECRETS)
    if not bucket:
        raise SettingError(f"{scheme}://{printable(rest)} names no bucket. Write {scheme}://bucket/folder.")
    if "?" in rest or "#" in rest:
        raise SettingError(f"{scheme}://{printable(bucket)}/… holds '?' or '#'. Give the bucket and the folder alone.")
    return Url(scheme, f"{bucket}/{key}".rstrip("/"))


def refuse_secrets(text: str) -> None:
    """Check that a text holds no URL with a password or a signature.

    Raises:
        SettingError: where it does; the message does not repeat it.
    """
    if _SECRET.search(text):
        raise SettingError(_NO_SECRETS)


def list_objects(url: Url) -> Iterator[ObjectFact]:
    """Every object below a URL, in no particular order; none where nothing is there.

    Raises:
        InputError: where the bucket does not exist, or access is refused.
        WorkError: where the store cannot be reached, or fails.
    """
    files = _file_system(url)
    with explained(url):
        for name, size_bytes, etag, changed in _s3_pages(files, url) if _is_s3(url) else _found(files, url):
            yield ObjectFact(name, size_bytes, etag, changed)


def find_object(url: Url) -> ObjectFact | None:
    """The facts of one object, or None where there is none; raises as `list_objects` does."""
    files = _file_system(url)
    with explained(url):
        try:
            info = files.info(url.path)
        except FileNotFoundError as error:
            if _code(error) == "NoSuchBucket":
                raise
            return None
        return None if info["type"] == "directory" else _fact(url.name, info)


def read_object(url: Url, max_bytes: int) -> bytes:
    """An object's content, in one request.

    Args:
        url: The object.
        max_bytes: A larger object is not read.

    Raises:
        ImageError: `unreadable` where the object is gone or access to it is refused, `too_large` where it is.
        InputError, WorkError: as `list_objects` raises them, where the fault is not the object's.
    """
    files = _file_system(url)
    try:
        # With both ends given no request is spent on asking for the size.
        data: bytes = files.cat_file(url.path, start=0, end=max_bytes + 1)
    except FileNotFoundError:
        raise ImageError("unreadable", "no longer there") from None
    except Exception as error:
        if _status(error) == 416:  # no first byte: it is empty
            return b""
        if isinstance(error, PermissionError) and _code(error) in _OF_ONE_OBJECT:
            raise ImageError("unreadable", "access refused") from None
        raise _in_plain_words(error, url) from None
    if len(data) > max_bytes:
        raise ImageError("too_large", f"more than {max_bytes} bytes")
    return data


def download(url: Url, path: Path, size_bytes: int, sha256: str | None = None) -> None:
    """Download an object to a file, which appears whole or not at all.

    Args:
        url: The object.
        path: The file.
        size_bytes: The size that must arrive.
        sha256: The hash that must arrive, hex; None to accept any.

    Raises:
        WorkError: where what arrived has another size or hash.
        InputError: as `list_objects` raises it.
    """
    files = _file_system(url)
    with atomic_file(path) as temporary:
        with explained(url):
            files.get_file(url.path, str(temporary))
        found_bytes = temporary.stat().st_size
        if found_bytes != size_bytes:
            raise WorkError(f"{url} arrived with {found_bytes} bytes, not {size_bytes}: it was changed. Run again.")
        if sha256 is not None and file_sha256(temporary) != sha256:
            raise WorkError(f"{url} is not the file that its card lists: it was changed. Restore it, or make it again.")


def upload(path: Path, url: Url) -> ObjectFact:
    """Upload a file to an object, which appears whole or not at all; returns the object's facts.

    Args:
        path: The file.
        url: The object.

    Raises:
        WorkError: where the store cannot be reached, or holds another size afterwards.
        InputError: as `list_objects` raises it.
    """
    files = _file_system(url)
    size_bytes = path.stat().st_size
    with explained(url):
        # A size of parts that the others' clients take as well is not worth a setting.
        files.put_file(str(path), url.path, **({"chunksize": PART_BYTES} if _is_s3(url) else {}))
        fact = _fact(url.name, files.info(url.path))
    if fact.size_bytes != size_bytes:
        raise WorkError(f"{url} holds {fact.size_bytes} bytes, not the {size_bytes} that were sent. Run again.")
    return fact


def remove(url: Url) -> None:
    """Remove an object; a missing one is no error."""
    files = _file_system(url)
    with explained(url):
        try:
            files.rm_file(url.path)
        except FileNotFoundError as error:
            if _code(error) == "NoSuchBucket":
                raise


@contextmanager
def explained(url: Url) -> Iterator[None]:
    """Turn what fsspec, its implementations and their clients raise into one sentence of ours, without their text.

    Raises:
        InputError: where the bucket does not exist, or access is refused.
        WorkError: where the store cannot be reached, or fails.
    """
    try:
        yield
    except DarkroomError:
        raise
    except Exception as error:
        raise _in_plain_words(error, url) from None


def _in_plain_words(error: Exception, url: Url) -> Exception:
    """What to raise in place of an error."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return error  # of this machine's disk: darkroom.data.files.atomic names it
    code, status, kind = _code(error), _status(error), type(error).__name__
    where = printable(str(url))
    said = code if re.fullmatch(r"[A-Za-z][A-Za-z0-9]{1,60}", code) else f"HTTP {status}" if status else kind
    if code == "NoSuchBucket":
        return SourceError(f"The bucket of {where} does not exist. Check its name, the region and the endpoint.")
    if isinstance(error, PermissionError) or status in (401, 403) or code in _REFUSED_CODES:
        return InputError(
            f"{where} was refused ({said}). Check the credentials and their permissions: see docs/storage.md."
        )
    if isinstance(error, FileNotFoundError) or status == 404:
        return SourceError(f"There is nothing at {where}. Check the URL.")
    if not status and _NO_CREDENTIALS.search(kind):
        return InputError(
            f"No credentials were found for {where} ({kind}), or its client cannot use what is set: key, region, "
            "endpoint. Set them as the store's own tools expect: see docs/storage.md."
        )
    if not status and (isinstance(error, ConnectionError | TimeoutError) or _UNREACHABLE.search(kind)):
        return WorkError(
            f"{where} cannot be reached ({kind}). Check the network and the endpoint, and run the same command "
            "again: finished work is kept."
        )
    if status is not None and status < 500 and status != 429:
        return InputError(f"{where} cannot be used: the store said {said}. Check the URL, the region and the endpoint.")
    return WorkError(
        f"The store of {where} failed ({said}), also when tried again. Start the same command again later: what is "
        "done is kept."
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it came from."""
    found: BaseException | None = error
    for _ in range(5):
        if found is None:
            return
        yield found
        found = found.__cause__ or found.__context__


def _code(error: BaseException) -> str:
    """The store's own word for what went wrong, such as `NoSuchBucket`, or nothing."""
    for each in _causes(error):
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
    return ""


def _status(error: BaseException) -> int | None:
    """The HTTP status, or None where there was no answer."""
    for each in _causes(error):
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            names = ("status_code", "status", "code")  # as Azure's, aiohttp's and Google's errors call it
            found = next((getattr(each, name) for name in names if hasattr(each, name)), None)
        if isinstance(found, int) and 100 <= found < 600:
            return found
    return None


def _is_s3(url: Url) -> bool:
    return EXTRAS.get(url.scheme) == "s3"


def _file_system(url: Url) -> Any:
    """fsspec's own, which keeps one for all threads; nothing that it lists is remembered."""
    import fsspec

    try:
        return fsspec.filesystem(url.scheme, use_listings_cache=False, skip_instance_cache=False)
    except ImportError:
        extra = EXTRAS.get(url.scheme, url.scheme)
        raise SettingError(
            f"{url.scheme}:// needs packages that are not installed: python -m pip install 'darkroom-flows[{extra}]'"
        ) from None
    except Exception as error:
        raise _in_plain_words(error, url) from None


def _s3_pages(files: Any, url: Url) -> Iterator[tuple[str, int, str, int]]:
    """A thousand objects at a time: of a million, `find` would hold over a GB of facts."""
    bucket, _, key = url.path.partition("/")
    prefix = f"{key}/" if key else ""
    more: dict[str, str] = {}
    while True:
        page = files.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
        for each in page.get("Contents", ()):
            etag = str(each.get("ETag", "")).strip('"')
            yield each["Key"][len(prefix) :], int(each["Size"]), etag, _nanoseconds(each["LastModified"])
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def _found(files: Any, url: Url) -> Iterator[tuple[str, int, str, int]]:
    root = files._strip_protocol(str(url)).rstrip("/")
    for path, info in files.find(root, detail=True).items():
        if path != root:
            fact = _fact(path[len(root) + 1 :], info)
            yield fact.name, fact.size_bytes, fact.etag, fact.mtime_ns


def _fact(name: str, info: Mapping[str, Any]) -> ObjectFact:
    """The stores call the same things by different names."""
    changed = next(
        (info[key] for key in ("LastModified", "last_modified", "updated", "mtime", "created") if info.get(key)), 0
    )
    changed_ns = _nanoseconds(changed)
    etag = str(info.get("ETag") or info.get("etag") or info.get("md5Hash") or changed_ns).strip('"')
    return ObjectFact(name, int(info["size"]), etag, changed_ns)


def _nanoseconds(when: Any) -> int:
    if isinstance(when, str):
        when = datetime.fromisoformat(when)
    seconds = when.timestamp() if isinstance(when, datetime) else float(when)
    return round(seconds * 1e6) * 1000  # a float holds no more than microseconds of today's time
