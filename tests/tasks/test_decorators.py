"""What a process logs: all that Prefect shows of a run where a flow is Prefect's, and else what its user says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("before", "level"), [("", "INFO"), ("logging.getLogger('darkroom').setLevel('ERROR')", "ERROR")]
)
def test_to_import_the_flows_sets_no_log_level_and_prefects_flow_does_unless_there_is_one(
    before: str, level: str, tmp_path: Path
) -> None:
    tried = f"""
import logging
{before}
import darkroom.flows.cli, darkroom.flows.score as score, darkroom.flows.settings
logger = logging.getLogger("darkroom")
print(logging.getLevelName(logger.level), end=" ")
score.score.prefect
print(logging.getLevelName(logger.level))
"""
    done = subprocess.run(
        [sys.executable, "-c", tried], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == [level if before else "NOTSET", level]
