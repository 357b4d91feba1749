"""`darkroom serve`: a model as a web service. No flow: it has no end, and nothing of it is a run."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.errors import DarkroomError, InputError, SettingError
from darkroom.data.stores.workspace import Workspace
from darkroom.flows.quiet import load_tensorflow
from darkroom.flows.settings import decoder_rule, open_workspace, serving_keys
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.bundle.imagenet import find_bundle
from darkroom.models.serving.decoding import CarefulDecoder
from darkroom.models.serving.served import ServeRequest, Service
from darkroom.models.serving.settings import ServeSettings

MIN_KEY_LENGTH = 16
_GRACE_SECONDS = 30
_BACKLOG = 1024


@dataclass(frozen=True)
class Listening:
    """Where a service listens, and to whom.

    Attributes:
        host: An address of this machine.
        port: 0 takes a free one.
        keys: API keys that are accepted; () lets anybody call.
        is_open: Anybody may call from other machines too.
    """

    host: str
    port: int
    keys: tuple[str, ...]
    is_open: bool

    def check(self) -> None:
        """Refuse to listen to other machines by oversight.

        Raises:
            SettingError: where other machines can reach it, and there is neither a key nor `--open`.
        """
        if not (self.keys or self.is_open or _is_this_machine(self.host)):
            raise SettingError(
                f"At {self.host} anybody in the network could call the service. Give --api-keys FILE, or --open to "
                "allow that."
            )


def read_keys(file: str | None) -> tuple[str, ...]:
    """API keys, one per line of a file, or of the variable `DARKROOM_API_KEYS`.

    Args:
        file: None takes the variable.

    Raises:
        InputError: where there is no such file.
        SettingError: where it holds none, or a short one.
    """
    said = f"{file}" if file else "DARKROOM_API_KEYS"
    if file:
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise InputError(f"{file} cannot be read. Give a text file with one API key per line.") from None
    else:
        text = serving_keys()
    keys = tuple(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))
    if file and not keys:
        raise SettingError(f"{file} holds no API key. Write one per line.")
    if any(len(key) < MIN_KEY_LENGTH for key in keys):
        raise SettingError(f"{said} holds a key of fewer than {MIN_KEY_LENGTH} characters. Take longer ones.")
    return keys


def serve(model: str, workspace: str | None, listening: Listening, settings: ServeSettings) -> None:
    """Answer requests until this process is told to stop; then finish those that were taken on.

    Args:
        model: The model's reference; one that names the blessed or the newest version is followed.
        workspace: Folder or URL of all results; None takes the default.
        listening: Where, and to whom.
        settings: Limits.

    Raises:
        DarkroomError: where there is no such model, or it cannot be listened there.
    """
    import uvicorn

    from darkroom.models.serving.http.access import Keys
    from darkroom.models.serving.http.app import ServiceParts, create_app
    from darkroom.models.serving.http.metrics import Metrics

    listening.check()
    place, metrics = open_workspace(workspace), Metrics()
    listener, crashes = _listen(listening), _crash_folder()
    request = ServeRequest(lambda: find_bundle(model, place), CarefulDecoder(crashes), settings, decoder_rule())
    service = Service(request, metrics.observe_batch)
    parts = ServiceParts(service, Keys(listening.keys), metrics, model, lambda bundle: _dataset_of(bundle, place))
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = uvicorn.Config(
        create_app(parts),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        server_header=False,
    )
    server, ended = uvicorn.Server(config), threading.Event()
    served, (host, port) = service.current, listener.getsockname()[:2]
    sys.stderr.write(
        f"Serving {served.bundle.reference} ({served.choice.reason}) at http://{f'[{host}]' if ':' in host else host}:"
        f"{port} ({served.engine}; {'an API key is' if listening.keys else 'no API key'} required). Stop with Ctrl-C.\n"
    )
    follower = threading.Thread(target=service.follow_until, args=(ended,), daemon=True)
    follower.start()
    # The server raises again what it was told to stop by, once it has stopped: by then all is done.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        server.run(sockets=[listener])
    finally:
        ended.set()
        service.close()
        shutil.rmtree(crashes, ignore_errors=True)


def _listen(listening: Listening) -> socket.socket:
    """A socket that listens there: before the model is loaded, which takes longer."""
    try:
        (family, *_, address), *_ = socket.getaddrinfo(listening.host, listening.port, type=socket.SOCK_STREAM)
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise InputError(
            f"{listening.host}:{listening.port} cannot be listened at: {error.strerror}. Give another --host or --port."
        ) from None


def _crash_folder() -> Path:
    """Of the process that watches over this one, so that the next one started by it finds what this one leaves."""
    folder = Path(tempfile.gettempdir()) / f"darkroom-serve-{os.getuid()}-{os.getppid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise InputError(f"{folder} belongs to somebody else. Remove it, or set TMPDIR to another folder.")
    return folder


def _dataset_of(bundle: Bundle, place: Workspace) -> Dataset | None:
    try:
        found = open_dataset(place.find_dataset(bundle.card.dataset))
    except DarkroomError:
        return None
    if found.card.shard_format == "tfrecord":
        load_tensorflow()
    return found


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
