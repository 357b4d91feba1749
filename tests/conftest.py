"""Prefect for the tests: a home of their own, an empty record, and a server. How processes share the tests."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from darkroom.data.images.decoder_fingerprint import Decoder

# The speed of an example is no part of what a test says: by default Hypothesis fails what takes over 200 ms.
settings.register_profile("darkroom", deadline=None)
settings.load_profile("darkroom")

# Before anything imports Prefect: nothing of the user's profile, server or records is read or written.
_HOME = Path(tempfile.mkdtemp(prefix="darkroom-tests-"))
for _name in [name for name in os.environ if name.startswith(("PREFECT_", "DARKROOM_"))]:
    del os.environ[_name]
os.environ["PREFECT_HOME"] = str(_HOME)

from darkroom.data.files.locks import exclusive  # noqa: E402
from darkroom.flows.settings import prepare_environment  # noqa: E402
from tests.distribution import group_of, num_processes, turn_of  # noqa: E402

prepare_environment("CRITICAL")


def pytest_unconfigure() -> None:
    """Remove the home that was made for this session, and let all of it be garbage again."""
    gc.unfreeze()
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """How many processes `pytest -n auto` starts."""
    return num_processes()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out the tests group by group (tests/distribution.py)."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class ByGroup(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False
    return ByGroup(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where processes share the tests, begin with what takes longest."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: turn_of(item.nodeid))


def pytest_collection_finish() -> None:
    """Let garbage be searched for in what tests make alone: TensorFlow's own objects are half a million."""
    gc.collect()
    gc.freeze()


_MAKE_RECORD = """
import asyncio
from prefect.server.database import provide_database_interface
asyncio.run(provide_database_interface().create_db())
"""


@pytest.fixture(scope="session")
def empty_record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record of Prefect with all tables and no row, as `prefect.db` in a home; to be copied, not written to.

    Making one takes 4 s of CPU, so it is made once for all processes that share the tests.
    """
    place = tmp_path_factory.getbasetemp()
    home = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / "empty-record"
    with exclusive(home):
        if not (home / "made").exists():
            environment = {**os.environ, "PREFECT_HOME": str(home)}
            subprocess.run([sys.executable, "-c", _MAKE_RECORD], env=environment, check=True)
            (home / "made").touch()
    return home / "prefect.db"


@pytest.fixture(scope="session")
def prefect_server(empty_record: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with an empty record, started for the first test that needs it; gives the URL of its API."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    place = tmp_path_factory.mktemp("server")
    shutil.copy(empty_record, place / "prefect-test.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prefect.testing.utilities.mkdtemp", lambda: str(place))  # where it has its record
        with prefect_test_harness(server_startup_timeout=None):
            yield str(PREFECT_API_URL.value())


@pytest.fixture
def upgrade_decoder() -> Iterator[Callable[[], Decoder]]:
    """A function that replaces the resizer by one that gives other pixels, as an upgrade may; gives the new decoder."""
    from darkroom.data.images.decoder_fingerprint import decoder
    from darkroom.data.images.pixels.resizing import resize

    def brighter(image: Any, policy: Any) -> Any:
        pixels = resize(image, policy)
        return pixels + (pixels < 255).astype(pixels.dtype)

    def upgrade() -> Decoder:
        patch.setattr("darkroom.data.images.decode.resize", brighter)
        decoder.cache_clear()
        return decoder()

    with pytest.MonkeyPatch.context() as patch:
        yield upgrade
    decoder.cache_clear()


@pytest.fixture(autouse=True)
def _commands_stay_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that a test calls would fork the tests off with it."""
    monkeypatch.setattr("darkroom.flows.child_process.work_in_a_child", lambda *_, **__: None)
