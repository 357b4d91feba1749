"""An inbox scored from beginning to end, in this process; the flow does the same in tasks."""

from __future__ import annotations

import time

from darkroom.data.files.locks import Waiting, exclusive
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.inbox.arrivals import plan_night
from darkroom.models.inbox.parts import publish_part, stage_part
from darkroom.models.inbox.request import InboxRequest
from darkroom.models.inbox.summary import InboxSummary, summarize_night
from darkroom.models.scoring.parts import open_runner


def score_inbox(request: InboxRequest, waiting: Waiting = Waiting()) -> InboxSummary:  # noqa: B008
    """Score what is new in an inbox into its table.

    Args:
        request: What is asked for.
        waiting: How long to wait for another run.

    Raises:
        InputError, SettingError: as `plan_night` raises them.
        WorkError: where another run holds the table for too long, or the work fails; the next run does the rest.
    """
    clock, table = time.monotonic(), request.table
    with exclusive(table.paths.work, waiting=waiting):
        bundle = open_bundle(request.score.bundle)
        plan = plan_night(request, bundle)
        published = []
        if plan.score.num_files:
            runner, _ = open_runner(request.score.bundle, plan.score.engine)
            for index in range(plan.score.num_parts):
                part = stage_part(table.out.folder, index, runner, bundle)
                published.append(publish_part(table, plan, bundle, part))
        return summarize_night(table, plan, published, time.monotonic() - clock, None)
