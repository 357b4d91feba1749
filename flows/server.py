"""Prefect's server: the operator's (`darkroom server`), and the small one that a command starts where none is set.

The small one starts beside the imports and ends when its parent ends. Prefect itself would start one at a flow's first
request, and load all of the server into the flow's process to do so. Ours is a process that begins before anything else
is loaded. It outlives the Ctrl-C that a terminal sends to everything in it, so that the run's end is still recorded; a
parent that was killed leaves none behind.

Both keep their record in SQLite unless told otherwise, and both take its write lock when a transaction begins
(`use_write_transactions`). Neither takes its own absence for the death of a run (`server_absence.py`).
"""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any

from darkroom.data.errors import InputError, WorkError
from darkroom.data.files.locks import exclusive
from darkroom.flows.server_absence import forgive_absence
from darkroom.flows.server_database import check_database
from darkroom.flows.settings import name_database, name_server

_HOST = "127.0.0.1"
_END_TIMEOUT_SECONDS = 10
_LAST_WORDS_SECONDS = 2
_GRACE_SECONDS = 5
_OURS = "The Prefect server that this command starts for itself"
_OR_ANOTHER = "or run 'darkroom server' and set PREFECT_API_URL to it"
# What the traceback of a server holds that cannot write its record.
_DISK_FULL = ("No space left on device", "database or disk is full", "Disk quota exceeded")
_HOME_REFUSED = (
    "PermissionError", "NotADirectoryError", "FileExistsError", "FileNotFoundError", "Read-only file system",
    "unable to open database file", "attempt to write a readonly database", "database disk image is malformed",
    "file is not a database",
)  # fmt: skip
# How Python begins the last line of a traceback: here, the lock's own sentence on a folder that cannot be made.
_NOT_WRITABLE = f"{InputError.__module__}.{InputError.__qualname__}: "


@dataclass(frozen=True)
class OwnServer:
    """The server that a command has started for itself.

    Attributes:
        process: Its process.
        port: Where it listens.
        said: What it has written to standard error.
        timeout_seconds: How long it may take until its first answer.
        home: Prefect's home, which holds its database.
    """

    process: subprocess.Popen[bytes]
    port: int
    said: IO[bytes]
    timeout_seconds: float
    home: Path

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            WorkError: where it does not, with the cause and the remedy.
        """
        connection = HTTPConnection(_HOST, self.port, timeout=self.timeout_seconds)
        try:
            connection.request("GET", "/api/health")
            connection.getresponse().read()
        except (OSError, HTTPException) as error:
            raise WorkError(f"{_OURS} did not start: {self._cause(error)}") from None
        finally:
            connection.close()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """End this process, and say why, should the server end meanwhile: Prefect would retry for many minutes.

        What was being written is resumed by the next run, as after any other kill.
        """
        over = threading.Event()

        def watch() -> None:
            self.process.wait()
            if not over.wait(_GRACE_SECONDS):  # a signal to all processes of the command ends this one too
                sys.stderr.write(f"\ndarkroom: {self.failure()}\n")
                sys.stderr.flush()
                os._exit(WorkError.exit_status)

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def failure(self, error: Exception | None = None) -> WorkError:
        """Why a command could no longer reach it."""
        return WorkError(f"{_OURS} stopped answering: {self._cause(error)}")

    def _cause(self, error: Exception | None) -> str:
        """What happened, and what to do about it."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_LAST_WORDS_SECONDS)  # a process that has failed may be about to end
        status = self.process.poll()
        if status is None:
            return (
                f"it runs, but gave no answer within {self.timeout_seconds:.0f} s ({type(error).__name__}). The "
                f"machine may be too busy: start the same command again, {_OR_ANOTHER}."
            )
        if status < 0:
            name = signal.Signals(-status).name
            memory = ", as the system does when memory runs out" if -status == signal.SIGKILL else ""
            return f"it was ended by {name}{memory}. Start the same command again to resume, {_OR_ANOTHER}."
        self.said.seek(0)
        text = self.said.read().decode("utf-8", "replace").strip()
        last = text.splitlines()[-1].strip().rstrip(".") if text else f"it ended with status {status} and said nothing"
        if any(sign in text for sign in _DISK_FULL):
            return f"{last}. Free space on the disk of {self.home}, or set PREFECT_HOME to a folder on another one."
        refused = last.startswith(_NOT_WRITABLE)
        if refused or any(sign in text for sign in _HOME_REFUSED):
            last = last.removeprefix(_NOT_WRITABLE)
            return f"{last}. Its record is in {self.home}: set PREFECT_HOME to a folder that can be written to."
        return f"{last}. Check the installation with 'darkroom doctor', {_OR_ANOTHER}."


def start_server() -> OwnServer | None:
    """Start Prefect's API and name it to Prefect; None where one is set."""
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url:
        return None
    # It listens before there is anybody to answer, so that a request waits and no port can be lost to another process.
    with socket.create_server((_HOST, 0)) as listening:
        port = listening.getsockname()[1]
        # Open for as long as the server runs.
        said = tempfile.TemporaryFile()  # noqa: SIM115
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-m", "darkroom.flows.server", str(listening.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
            pass_fds=[listening.fileno()],
            start_new_session=True,
        )
    atexit.register(_end, process)
    name_server(f"http://{_HOST}:{port}/api", settings.server.api.auth_string)
    timeout_seconds = settings.server.ephemeral.startup_timeout_seconds
    return OwnServer(process, port, said, timeout_seconds, Path(settings.home))


@contextmanager
def reachable(server: OwnServer | None) -> Iterator[None]:
    """Run a flow; where Prefect's server cannot be reached, say whose it is and what to do.

    Raises:
        WorkError: in place of what Prefect or httpx raised.
    """
    try:
        yield
    except Exception as error:
        if _is_refused(error):
            raise _refused() from error
        if not _is_of_the_server(error, server):
            raise
        if server is not None:
            raise server.failure(error) from error
        from prefect.settings import get_current_settings

        raise WorkError(
            f"No Prefect server answers at {get_current_settings().api.url}, which PREFECT_API_URL or the Prefect "
            "profile names. Start it with 'darkroom server', or unset PREFECT_API_URL."
        ) from error


def _is_refused(error: Exception) -> bool:
    """Whether a server asked for another user and password."""
    return getattr(getattr(error, "response", None), "status_code", None) == HTTPStatus.UNAUTHORIZED


def _refused() -> WorkError:
    from prefect.settings import get_current_settings

    return WorkError(
        f"The Prefect server at {get_current_settings().api.url} refuses this user and password. Set "
        "PREFECT_API_AUTH_STRING to the user:password that the server has in PREFECT_SERVER_API_AUTH_STRING."
    )


def _is_of_the_server(error: Exception, server: OwnServer | None) -> bool:
    """Whether a flow failed because the server could not be reached."""
    names = {type(each).__name__ for each in (error, error.__cause__, error.__context__) if each is not None}
    if "Failed to reach API" in str(error) or names & {"ConnectError", "ConnectTimeout"}:
        return True
    lost = names & {"ReadError", "RemoteProtocolError", "ReadTimeout", "WriteError"}
    return bool(lost and server is not None and server.process.poll() is not None)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, after Prefect has sent all that it had to say."""
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(_END_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def serve(file_descriptor: int) -> None:
    """Answer on an open socket until standard input ends."""
    import uvicorn
    from prefect.server.api.server import create_app

    use_write_transactions()
    forgive_absence()
    _make_database()
    server = uvicorn.Server(uvicorn.Config(create_app(ephemeral=True, final=True), log_level="error", lifespan="on"))

    def end_with_the_parent() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True

    threading.Thread(target=end_with_the_parent, daemon=True).start()
    server.run(sockets=[socket.socket(fileno=file_descriptor)])


def serve_operator(host: str, port: int, database: str | None = None) -> None:
    """Run `prefect server start` in this process, with UI and services, until it is told to stop.

    Args:
        host: Address to listen on.
        port: Port to listen on.
        database: URL of a PostgreSQL database; None for what the environment says, else SQLite.

    Raises:
        SettingError: where the URL is none of PostgreSQL.
        WorkError: where the database cannot be used.
    """
    name_database(database)
    check_database()
    from prefect.cli import app

    use_write_transactions()
    forgive_absence()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.argv = ["prefect", "server", "start", "--host", host, "--port", str(port)]  # its only way to take arguments
    with suppress(KeyboardInterrupt):  # Ctrl-C is how it is stopped
        app()


def use_write_transactions() -> None:
    """Let the server's SQLite transactions take the write lock when they begin, and wait for it there.

    Prefect begins most of them without the lock and asks for it at the first write. Where another connection has
    written meanwhile, SQLite refuses at once with "database is locked", however long its timeout
    (https://www.sqlite.org/isolation.html, SQLITE_BUSY_SNAPSHOT), and the heartbeat or event is lost. A lock that is
    asked for first is waited for, for a minute. Other databases are left as they are.
    """
    from prefect.server.database.configurations import AioSqliteConfiguration
    from prefect.server.database.dependencies import set_database_config
    from prefect.settings import get_current_settings

    class WriteTransactions(AioSqliteConfiguration):
        def begin_transaction(self, session: Any, with_for_update: bool = False) -> Any:
            return super().begin_transaction(session, with_for_update=True)

    url = get_current_settings().server.database.connection_url
    if url is not None and url.get_secret_value().startswith("sqlite"):
        set_database_config(WriteTransactions(connection_url=url.get_secret_value()))


def _make_database() -> None:
    """Make the database of a fresh Prefect home, by one process only and before anybody writes to it."""
    import prefect
    from prefect.server.database import provide_database_interface
    from prefect.settings import get_current_settings

    home = Path(get_current_settings().home)
    marker = home / f".darkroom-database-{prefect.__version__}"
    if marker.exists():
        return
    with exclusive(home):
        if not marker.exists():
            asyncio.run(provide_database_interface().create_db())
            marker.touch()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
