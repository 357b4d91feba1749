"""How fast a run was: only what it computed counts, by the time in which it computed it."""

from __future__ import annotations

import pytest

from darkroom.models.scoring.parts import PartDone, images_per_second


@pytest.mark.parametrize(
    ("parts", "pace"),
    [
        ([], None),
        ([PartDone(0, 100, 100), PartDone(1, 50, 50)], None),
        ([PartDone(0, 100, 0, 10.0, 15.0)], 20.0),
        ([PartDone(0, 100, 60, 10.0, 12.0), PartDone(1, 1000, 1000)], 20.0),
        # Two at once take the time of both together, and a pause between two parts is no time.
        ([PartDone(0, 100, 0, 10.0, 20.0), PartDone(1, 100, 0, 15.0, 30.0)], 10.0),
        ([PartDone(1, 30, 0, 100.0, 101.0), PartDone(0, 30, 0, 10.0, 12.0)], 20.0),
        ([PartDone(0, 60, 0, 10.0, 20.0), PartDone(1, 40, 0, 12.0, 15.0)], 10.0),
    ],
    ids=["nothing", "all-reused", "one", "some-reused", "overlapping", "apart", "within"],
)
def test_rows_of_this_run_by_the_time_in_which_they_were_computed(parts: list[PartDone], pace: float | None) -> None:
    assert images_per_second(parts) == pace
