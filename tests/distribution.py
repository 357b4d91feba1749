"""How the processes of `make test` share the tests: which stay together, and which come first.

The tests of a file run in one process and in their order, so that no fixture is set up twice. The slowest come first,
so that all processes finish at about the same time.
"""

from __future__ import annotations

from darkroom.data.files.parallel import num_cpus

# Two files that share a server and a worker; their last test reads what the server has logged during all of them.
TOGETHER = "tests/flows/test_deployment"
SLOWEST_FIRST = (TOGETHER, "tests/flows/", "tests/faults/", "tests/test_", "tests/models/", "tests/")


def group_of(nodeid: str) -> str:
    """The group of the test with that id; a group is never divided among processes."""
    return TOGETHER if nodeid.startswith(TOGETHER) else nodeid.partition("::")[0]


def turn_of(nodeid: str) -> int:
    """The place of a test in the order; 0 comes first."""
    return next(turn for turn, prefix in enumerate(SLOWEST_FIRST) if nodeid.startswith(prefix))


def num_processes() -> int:
    """One for each processor, but at most four: each takes up to 2 GB."""
    return min(4, num_cpus())
