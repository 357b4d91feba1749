"""Leases: work for a run ends with it, and keeps to its share of the processors."""

from __future__ import annotations

import gc
import pickle
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from darkroom.data.errors import WorkError
from darkroom.data.files import lease as leases
from darkroom.data.files.lease import Lease, Shared, grant, working_under
from darkroom.data.files.locks import exclusive
from darkroom.data.parallel import CPU_SHARE, STOP, num_cpus, ordered_map


@pytest.fixture(autouse=True)
def looking_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_LOOK_EVERY_SECONDS", 0)


def test_work_goes_on_while_the_lease_is_there_and_stops_when_it_ends(tmp_path: Path) -> None:
    begun: list[int] = []

    def note(item: int) -> int:
        begun.append(item)
        return item

    with grant(tmp_path, 1) as lease, working_under(lease):
        results = ordered_map(note, range(1000), num_threads=1, window=4)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        lease.end()
        with pytest.raises(WorkError, match="the run is ending"):
            next(results)
    assert len(begun) <= 3 + 4


def test_what_was_left_to_do_when_it_ends_is_not_done_either(tmp_path: Path) -> None:
    """All items are begun: nobody asks before another one, and the part would still be published."""
    with grant(tmp_path, 1) as lease, working_under(lease):
        results = ordered_map(abs, range(4), num_threads=1, window=4)
        assert next(results) == 0
        lease.end()
        with pytest.raises(WorkError, match="the run is ending"):
            next(results)


def test_the_next_run_that_locks_the_folder_ends_the_leases_of_one_that_was_killed(tmp_path: Path) -> None:
    killed = grant(tmp_path / ".scoring", 1)  # and never left
    with working_under(killed.__enter__()):
        stop = STOP.get()
        assert stop is not None
        assert not stop.is_set()
        with exclusive(tmp_path / ".scoring", tmp_path), grant(tmp_path / ".scoring", 1) as next_lease:
            assert stop.is_set()
            with working_under(next_lease):
                assert next_lease.file.exists()


def test_the_share_of_the_processors_holds_within_the_block_and_no_longer(tmp_path: Path) -> None:
    everything = num_cpus()
    with grant(tmp_path, everything + 5) as lease, working_under(pickle.loads(pickle.dumps(lease))):
        assert num_cpus() == everything + 5
    assert num_cpus() == everything
    assert (STOP.get(), CPU_SHARE.get()) == (None, None)
    with working_under(None):
        assert num_cpus() == everything


def test_nothing_is_begun_under_a_lease_that_has_ended(tmp_path: Path) -> None:
    with grant(tmp_path, 1) as lease:
        pass
    with pytest.raises(WorkError, match="the run has ended"), working_under(lease):
        pytest.fail("begun")
    assert STOP.get() is None
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_the_folder_says_what_the_cluster_lacks(tmp_path: Path) -> None:
    with (
        pytest.raises(WorkError, match=r"cannot see the folder .*elsewhere.*at the same paths"),
        working_under(Lease(tmp_path / "elsewhere" / "lease", 1)),
    ):
        pytest.fail("begun")


def test_the_file_is_looked_for_now_and_then_and_not_for_every_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_LOOK_EVERY_SECONDS", 3600)
    looked: list[Path] = []

    def is_there(file: Path) -> bool:
        looked.append(file)
        return True

    monkeypatch.setattr(leases, "_is_there", is_there)
    with grant(tmp_path, 1) as lease, working_under(lease):
        assert sum(1 for _ in ordered_map(abs, range(500), num_threads=2, window=8)) == 500
    assert looked == [lease.file]


class Network:
    """Stands for something that takes long to load, and much memory."""


def test_the_threads_of_a_run_share_one_network_which_is_let_go_of_at_the_end() -> None:
    made: list[weakref.ref[Network]] = []

    def load() -> Network:
        time.sleep(0.05)
        network = Network()
        made.append(weakref.ref(network))
        return network

    with Shared(load) as shared:
        with ThreadPoolExecutor(8) as pool:
            given = {id(network) for network in pool.map(lambda _: shared.get(None), range(8))}
        assert (len(given), len(made)) == (1, 1)
        assert made[0]() is not None
    assert made[0]() is None


def test_the_parts_of_a_run_share_one_network_in_another_process_until_the_lease_ends(tmp_path: Path) -> None:
    def sent(shared: Shared[Network]) -> Shared[Network]:
        return pickle.loads(pickle.dumps(shared))  # type: ignore[no-any-return]

    run, other_run = Shared(Network), Shared(Network)
    with grant(tmp_path, 1) as lease, grant(tmp_path, 1) as other_lease:
        network, other = weakref.ref(sent(run).get(lease)), weakref.ref(sent(other_run).get(other_lease))
        gc.collect()
        assert network() is sent(run).get(lease)  # kept, though no part of the run is at work
        assert other() is not network()
        assert run.get(None) is not network()
        lease.end()
        deadline = time.monotonic() + 5
        while network() is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert network() is None
        assert other() is sent(other_run).get(other_lease)


def test_a_network_that_could_not_be_loaded_is_loaded_by_the_next_part() -> None:
    answers = iter([OSError("the disk is away"), None])

    def load() -> Network:
        if error := next(answers):
            raise error
        return Network()

    shared = Shared(load)
    with pytest.raises(OSError, match="the disk is away"):
        shared.get(None)
    assert isinstance(shared.get(None), Network)
