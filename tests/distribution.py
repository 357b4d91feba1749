"""How the processes of `make test` share the tests: which stay together, and which come first.

The tests of a file run in one process and in their order, so that no fixture is set up twice. The slowest come first,
so that all processes finish at about the same time.
"""

from __future__ import annotations

import os

from darkroom.data.parallel import num_cpus

# Two files that share a server and a worker; their last test reads what the server has logged during all of them.
DEPLOYMENT = "tests/flows/test_deployment"
# They share a process that has loaded TensorFlow and from which each run is forked.
FAULTS = "tests/faults/"
# By the CPU seconds that each took when they were last measured, from 230 down to 40; the deployments mostly wait.
SLOWEST_FIRST = (
    FAULTS,
    DEPLOYMENT,
    "tests/test_docs.py",
    "tests/models/training/",
    "tests/models/training_loop/",
    "tests/flows/test_flows.py",
    "tests/flows/test_shadowed.py",
    "tests/test_rooms.py",
    "tests/flows/",
    "tests/test_",
    "tests/models/explaining/",
    "tests/models/experiments/",
    "tests/models/",
    "tests/",
)
BYTES_PER_PROCESS = 3 * 2**30


def group_of(nodeid: str) -> str:
    """The group of the test with that id; a group is never divided among processes."""
    return next((each for each in (DEPLOYMENT, FAULTS) if nodeid.startswith(each)), nodeid.partition("::")[0])


def turn_of(nodeid: str) -> int:
    """The place of a test in the order; 0 comes first."""
    return next(turn for turn, prefix in enumerate(SLOWEST_FIRST) if nodeid.startswith(prefix))


def num_processes() -> int:
    """One more than there are processors, since some tests wait; at most four, and as many as fit into memory."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(4, num_cpus() + 1, memory_bytes // BYTES_PER_PROCESS))
