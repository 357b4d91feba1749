"""Prefect's server: the operator's (`darkroom server`), and the small one that a command starts where none is set.

The small one starts beside the imports and ends when its parent ends. Prefect itself would start one at a flow's first
request, and load all of the server into the flow's process to do so. Ours is a process that begins before anything else
is loaded. It outlives the Ctrl-C that a terminal sends to everything in it, so that the run's end is still recorded; a
parent that was killed leaves none behind.

Both keep their record in SQLite unless told otherwise, and both take its write lock when a transaction begins
(`use_write_transactions`).
"""

from __future__ import annotations

import asyncio
import atexit
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any

from darkroom.data.errors import WorkError
from darkroom.data.files.locks import exclusive
from darkroom.flows.settings import name_server

_HOST = "127.0.0.1"
_END_TIMEOUT_SECONDS = 10


def start_server() -> Callable[[], None]:
    """Start Prefect's API where none is set, and name it to Prefect; gives a function that waits until it answers.

    That function raises WorkError where it does not.
    """
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url:
        return lambda: None
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
    name_server(f"http://{_HOST}:{port}/api")
    timeout = settings.server.ephemeral.startup_timeout_seconds
    return lambda: _wait(port, timeout, said, Path(settings.home))


def _wait(port: int, timeout_seconds: float, said: IO[bytes], home: Path) -> None:
    connection = HTTPConnection(_HOST, port, timeout=timeout_seconds)
    try:
        connection.request("GET", "/api/health")
        connection.getresponse().read()
    except (OSError, HTTPException) as error:
        said.seek(0)
        lines = said.read().decode("utf-8", "replace").strip().splitlines()
        last = lines[-1].rstrip(".") if lines else f"{type(error).__name__}, and it says nothing"
        raise WorkError(
            f"Prefect's server for this command, with its record in {home}, did not start: {last}. Set PREFECT_HOME to "
            "another folder, or start a server with 'darkroom server' and set PREFECT_API_URL to it."
        ) from None
    finally:
        connection.close()


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
    _make_database()
    server = uvicorn.Server(uvicorn.Config(create_app(ephemeral=True, final=True), log_level="error", lifespan="on"))

    def end_with_the_parent() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True

    threading.Thread(target=end_with_the_parent, daemon=True).start()
    server.run(sockets=[socket.socket(fileno=file_descriptor)])


def serve_operator(host: str, port: int) -> None:
    """Run `prefect server start` in this process, UI and services included, until it is told to stop."""
    from prefect.cli import app

    use_write_transactions()
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
