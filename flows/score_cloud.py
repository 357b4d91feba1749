"""Flow `score-cloud`: a folder of images, or some files, become a prediction table by a recognition service."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from darkroom.data.errors import SettingError
from darkroom.data.files.locks import exclusive
from darkroom.data.stores.folders import Images
from darkroom.data.stores.workspace import Workspace
from darkroom.flows.count_tables import count_tables
from darkroom.flows.descriptions import describe
from darkroom.flows.form_types import AtLeastOne
from darkroom.flows.options import ROWS_PER_PART
from darkroom.flows.results import ScoreResult
from darkroom.flows.runners import open_threads
from darkroom.flows.scoring_input import images_given
from darkroom.flows.settings import cloud_access, default_cloud_table, open_table, open_workspace
from darkroom.models.cloud.answers import open_answers
from darkroom.models.cloud.scoring import Asked, Caller
from darkroom.models.cloud.scoring import estimate as estimated
from darkroom.models.cloud.settings import service_settings
from darkroom.models.cloud.spending import Estimate, Spending
from darkroom.models.cloud.vendors.choice import open_service
from darkroom.models.cloud.word_map import read_word_map
from darkroom.models.prediction_table.schema import TOP_K, TopK, check_top_k
from darkroom.models.scoring.exported_file import TableFormat, check_form, say_outdated
from darkroom.models.scoring.request import ScoreRequest
from darkroom.tasks import score as tasks
from darkroom.tasks import score_cloud as cloud_tasks
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.decorators import flow
from darkroom.tasks.window import submit_all


def asked_of(
    model: str,
    word_map: str | None = None,
    service_model: str | None = None,
    classes: list[str] | None = None,
    price: float | None = None,
    token_price: list[float] | None = None,
    max_requests: int | None = None,
    max_cost: float | None = None,
) -> Asked:
    """A service and how its words become labels, from the parameters of the flow; all is checked.

    Raises:
        InputError: where the word map cannot be read, or settings do not fit together.
    """
    given = {
        "service_model": service_model,
        "classes": tuple(classes) if classes else None,
        "price": price,
        "token_price": tuple(token_price) if token_price else None,
        "max_requests": max_requests,
        "max_cost": max_cost,
    }
    settings = service_settings(model, given)
    if word_map and settings.classes:
        raise SettingError(
            "--word-map maps a service's own words; --classes already are your classes. Give one of them."
        )
    return Asked(settings, read_word_map(Path(word_map)) if word_map else None)


def request_of(images: Images, asked: Asked, out: str | None, place: Workspace, **how: Any) -> ScoreRequest:
    """What is asked for, checked.

    Args:
        images: The images.
        asked: The service.
        out: Folder or URL for the table; None takes the default.
        place: The workspace.
        how: Other fields of the request.
    """
    table = open_table(out, default_cloud_table(images, asked.settings.service, place), place)
    return ScoreRequest(folder=images, bundle=place.root, out=table, **how)  # a service has no bundle


def estimate(images: Images, asked: Asked, out: str | None, place: Workspace) -> Estimate:
    """What a run would send, and for how much; nothing is sent.

    Args:
        images: The images.
        asked: The service.
        out: As for `score_cloud`.
        place: The workspace.
    """
    with open_answers(place.root / "cloud", asked.settings.service, asked.settings.key) as answers:
        return estimated(request_of(images, asked, out, place), asked, answers)


def _name(given: dict[str, Any]) -> str:
    """The name of Prefect's run: the images, the date and the service."""
    images = given["folder"] or given.get("files")
    said = images if isinstance(images, str) else f"{len(images or ())} files"
    return f"{said} {date.today()} {given['model']}"


@flow(name="score-cloud", flow_run_name=_name)
def score_cloud(
    folder: str | list[str] | None,
    model: str,
    out: str | None = None,
    rows_per_part: AtLeastOne = ROWS_PER_PART,
    files: str | None = None,
    word_map: str | None = None,
    service_model: str | None = None,
    classes: list[str] | None = None,
    price: float | None = None,
    token_price: list[float] | None = None,
    max_requests: int | None = None,
    max_cost: float | None = None,
    rescore: bool = False,
    retry_quarantined: bool = False,
    top_k: TopK = TOP_K,
    format: TableFormat = "parquet",  # noqa: A002 -- as the option is called
    workspace: str | None = None,
) -> ScoreResult:
    """Score every file of a folder, or some files, by a recognition service; its answers are kept and never paid twice.

    Args:
        folder: Required, unless `files` is given. The images, in a folder or at a URL, subfolders too; or an image
            file, or a list of them.
        model: cloud:aws-rekognition, cloud:google-vision, cloud:azure-vision or cloud:openai-compatible.
        out: Folder or URL for the table; None takes scores/(folder's name)-cloud-(service) in the workspace.
        rows_per_part: Files in one part of the table.
        files: A text file of paths to score, one per line, in place of a folder.
        word_map: A YAML file of your classes, each with the service's words for it; None keeps its words as labels.
        service_model: Model of an openai-compatible service.
        classes: Classes that an openai-compatible service chooses from.
        price: US dollars per 1,000 images; None takes the vendor's list price.
        token_price: US dollars per million input and output tokens of an openai-compatible service.
        max_requests: Requests at most.
        max_cost: US dollars at most.
        rescore: Replace a table that another model or other settings made.
        retry_quarantined: Ask again about files that an earlier run quarantined.
        top_k: Words or classes that a row keeps, the most confident first: a number, or all.
        format: Write the whole table also as one file, CSV or JSON lines, beside the table's folder; parquet writes the
            folder alone.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    check_top_k(top_k)
    asked = asked_of(model, word_map, service_model, classes, price, token_price, max_requests, max_cost)
    images, place = images_given(folder, files), open_workspace(workspace)
    how = {"rows_per_part": rows_per_part, "rescore": rescore, "retry_quarantined": retry_quarantined, "top_k": top_k}
    request = request_of(images, asked, out, place, **how)
    table, settings = request.out, asked.settings
    check_form(table, format)
    spending = Spending(settings)
    with (
        exclusive(table.paths.work),
        open_answers(place.root / "cloud", settings.service, settings.key) as answers,
        open_threads(1) as pool,
    ):
        plan = cloud_tasks.plan_asking(request, asked)
        caller = Caller(open_service(settings, cloud_access()), asked, answers, spending)
        done = []
        arguments = ((table.paths, index, cloud_tasks.Held(caller)) for index in range(plan.num_parts))
        with closing(submit_all(pool, cloud_tasks.ask_part, arguments, plan.num_parts, "score")) as parts:
            for part in parts:
                table.share_part(part.index)
                done.append(part)
        summary = tasks.summarize(table, done, started.isoformat(timespec="seconds"), time.monotonic() - clock)
        say_outdated(table.paths, format, summary)
        exported = tasks.write_form(table, format, summary) if format != "parquet" else None
    remark = f"{spending.num_requests:,} requests in this run, ${spending.cost:.4f}; the others were answered before."
    result = ScoreResult.of(summary.model_copy(update={"remarks": (remark,)}), table.reference, images, exported)
    show_result(describe(result).with_tables(*count_tables(result)), "scoring-cloud")
    return result
