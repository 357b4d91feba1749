"""Whether a prediction table is up to date: the same files, scored by the same bundle alike, each part whole."""

from __future__ import annotations

from darkroom.data.errors import FormatError
from darkroom.data.parallel import in_batches
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.prediction_table.part_file import part_key, stamp
from darkroom.models.scoring.plan import files_of, plan_of, plan_table, rows_key
from darkroom.models.scoring.request import ScoreRequest
from darkroom.models.scoring.reuse import is_done
from darkroom.models.scoring.summary import ScoreSummary, read_summary


def find_table(request: ScoreRequest, bundle: Bundle) -> ScoreSummary | None:
    """The summary of a table that is up to date; None where the request leaves work to do.

    Args:
        request: What is asked for.
        bundle: Its bundle, opened.
    """
    table = request.out.paths
    if not (table.summary.is_file() and table.run_record.is_file()):
        return None  # without a look at the files
    try:
        summary = read_summary(table.folder)
    except FormatError:
        return None
    plan = plan_of(request, bundle, bundle.engine(request.precision), summary.num_files)
    key, num_parts = rows_key(bundle, plan), 0
    for index, part in enumerate(in_batches(files_of(request), request.rows_per_part)):
        stamps = tuple(stamp(file) for file in plan_table(part).to_pylist())
        if not is_done(table.part(index), part_key(key, stamps)):
            return None
        num_parts += 1
    return summary if num_parts == len(table.parts()) == len(summary.parts) else None
