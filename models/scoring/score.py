"""A folder of images to a prediction table, from beginning to end, in this process; the flow does the same in tasks."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from darkroom.data.files.locks import exclusive
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.scoring.parts import open_runner, score_part
from darkroom.models.scoring.plan import plan_scoring
from darkroom.models.scoring.request import ScoreRequest
from darkroom.models.scoring.summary import ScoreSummary, summarize


def score(request: ScoreRequest) -> ScoreSummary:
    """Score every file of a folder; what an earlier run has done is kept.

    Raises:
        InputError, SettingError: as `plan_scoring` raises them.
        WorkError: where the work fails; the same request resumes it.
    """
    started_at, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    out = request.out
    with exclusive(out.paths.work):
        plan = plan_scoring(request, open_bundle(request.bundle))
        runner, bundle = open_runner(request.bundle, plan.engine)
        parts = []
        for index in range(plan.num_parts):
            parts.append(score_part(out.folder, index, runner, bundle))
            out.share_part(index)
        summary = summarize(out.folder, parts, started_at, time.monotonic() - clock, None)
        out.share_table()
    return summary
