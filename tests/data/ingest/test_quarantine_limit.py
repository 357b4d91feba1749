"""How many broken files an ingest bears."""

from __future__ import annotations

import pyarrow as pa
import pytest

from darkroom.data.errors import InputError
from darkroom.data.ingest.quarantine_limit import check_quarantine_limit


def manifest(**counts: int) -> pa.Table:
    reasons = [None if reason == "ok" else reason for reason, count in counts.items() for _ in range(count)]
    return pa.table({"reason": pa.array(reasons, pa.string())})


def test_the_limit_itself_is_allowed_and_one_file_more_is_not() -> None:
    check_quarantine_limit(manifest(ok=8, truncated=2), 0.2, "photos")
    with pytest.raises(InputError, match=r"3 of 11 .*'truncated'.*20%"):
        check_quarantine_limit(manifest(ok=8, truncated=2, empty=1), 0.2, "photos")


def test_files_that_are_not_broken_do_not_count() -> None:
    check_quarantine_limit(manifest(ok=1, stray_file=50, unlabelled=50, copy_of_test=50), 0.0, "photos")


def test_a_source_of_which_nothing_can_be_used_is_refused_whatever_the_limit() -> None:
    with pytest.raises(InputError, match="photos"):
        check_quarantine_limit(manifest(empty=2), 1.0, "photos")
