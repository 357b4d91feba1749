"""The arithmetic of docs/scale.md, on costs that are easy to multiply in the head."""

from __future__ import annotations

from benchmarks.empty_parts import EmptyRun, Sample
from benchmarks.scale import Costs, FileCosts, document, limits

# 1,000 parts: recorded in 100 s, 16 rows and 1,024 bytes each.
PARTS = EmptyRun(1000, 10.0, 20.0, 100.0, 5.0, 35.0, {"task_run": 1000, "events": 15_000}, 1_024_000, ())
COSTS = Costs(
    image_cpu_seconds={"fp32": 0.0072, "int8": 0.0036},
    file=FileCosts(plan_seconds=6e-6, plan_memory_bytes=1024, plan_bytes=64, row_bytes=128, summary_seconds=12e-6),
    parts=PARTS,
    burst=EmptyRun(5000, 50.0, 60.0, 500.0, 5.0, 35.0, {}, 0, (Sample(500.0, 4000, 0, 0),)),
)


def test_the_document_multiplies_unit_costs_by_images_and_by_parts_of_a_thousand() -> None:
    text = document(COSTS, "the command")
    for line in (
        "| parts, and Prefect tasks | 10,000 | 1,000,000 |",
        "| core hours, int8 and fp32 | 10 and 20 | 1,000 and 2,000 |",
        "| Prefect's database, rows and size | 0.16 million, 0.01 GiB | 16.00 million, 0.95 GiB |",
        "| plan: minutes to list the files and write it | 1.0 | 100.0 |",
        "| plan: peak memory, all files in one folder | 9.5 GiB | 953.7 GiB |",
        "| summary: minutes | 2.0 | 200.0 |",
        "| object store requests: read | 10,000,000 | 1,000,000,000 |",
    ):
        assert line in text
    assert "8.0 per second; at the end its record held\n4,000 of them" in text


def test_limits_are_named_in_the_order_in_which_a_growing_folder_meets_them() -> None:
    found = limits(COSTS, cores=2)
    # 1.5 GiB of 1 KiB a file; 2 cores of 3.6 ms for a day; five digits; 10 parts of 1,000 a second for a day
    assert [limit.num_images for limit in found] == [1_572_864, 48_000_000, 100_000_000, 864_000_000]
    assert "SQLite" in found[-1].what
