"""The operator's database, tried before the server starts: what is wrong with it is said in one sentence.

Prefect's own server would say it in a traceback of a hundred lines, from the middle of a migration.
"""

from __future__ import annotations

import asyncio
from typing import Any

from darkroom.data.errors import WorkError

_TIMEOUT_SECONDS = 10
_OLDEST = 140009  # as PostgreSQL counts: 14.9, the oldest that Prefect supports
_NEEDED_EXTENSION = "pg_trgm"
_REFUSED = (
    "Set DARKROOM_DATABASE_PASSWORD, or DARKROOM_DATABASE_PASSWORD_FILE to a file that holds nothing but the password."
)
# By the names of asyncpg's exceptions.
_REMEDIES = {
    "InvalidPasswordError": _REFUSED,
    "InvalidAuthorizationSpecificationError": "Check the user in the URL, and the server's pg_hba.conf.",
    "InvalidCatalogNameError": "Create it on the machine of PostgreSQL: createdb --owner USER NAME.",
    "TooManyConnectionsError": "Raise max_connections in postgresql.conf, or stop what holds the connections.",
    "CannotConnectNowError": "PostgreSQL is starting or stopping: try again in a moment.",
}


def check_database() -> None:
    """Connect to the PostgreSQL that Prefect is told to use; SQLite is not looked at.

    Raises:
        WorkError: where it cannot be used, with the cause and the remedy; never with the password.
    """
    from prefect.settings import get_current_settings
    from sqlalchemy.engine import make_url

    setting = get_current_settings().server.database.connection_url
    url = make_url(setting.get_secret_value()) if setting else None
    if url is not None and url.get_backend_name() == "postgresql":
        asyncio.run(_check(url))


async def _check(url: Any) -> None:
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    where = shown(url)
    engine = create_async_engine(url, poolclass=NullPool, connect_args={"timeout": _TIMEOUT_SECONDS})
    try:
        async with engine.connect() as connection:
            version = int(await connection.scalar(text("SHOW server_version_num")))
            extension = text("SELECT count(*) FROM pg_available_extensions WHERE name = :name")
            has_extension = await connection.scalar(extension, {"name": _NEEDED_EXTENSION})
    except Exception as error:
        raise WorkError(f"{where} cannot be used: {_cause(error, url.password)}") from None
    if version < _OLDEST:
        raise WorkError(f"{where} is version {version // 10000}.{version % 10000}. Prefect needs 14.9 or newer.")
    if not has_extension:
        raise WorkError(f"{where} has no extension {_NEEDED_EXTENSION}. Install the package postgresql-contrib there.")


def shown(url: Any) -> str:
    """A database as messages name it: host, name and user, and no password.

    Args:
        url: SQLAlchemy's URL.
    """
    host = url.host or url.query.get("host") or "its default socket"
    port = f":{url.port}" if url.port else ""
    return f"The PostgreSQL database {url.database or url.username} at {host}{port}"


def _cause(error: Exception, password: str | None) -> str:
    """What the driver said, without a password should it be there, and what to do."""
    original = getattr(error, "orig", None) or error
    raised = original.__cause__ or original
    if isinstance(raised, TimeoutError):
        said = f"no answer within {_TIMEOUT_SECONDS} s"
    else:
        said = " ".join(str(raised).split()).rstrip(".") or type(raised).__name__
    if password:
        said = said.replace(str(password), "***")
    remedy = _REMEDIES.get(
        type(raised).__name__, "Start PostgreSQL, or correct the URL that --database or DARKROOM_DATABASE gives."
    )
    return f"{said}. {remedy}"
