"""The options of `score` with a recognition service as its model, and the question before anything is sent."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darkroom.data.errors import InputError, SettingError

if TYPE_CHECKING:
    from darkroom.flows.results import ScoreResult
    from darkroom.models.cloud.spending import Estimate

CLOUD = "Recognition service (--model cloud:NAME)"
PREFIX = "cloud:"


def _option(metavar: str, help_text: str) -> Any:
    return typer.Option(metavar=metavar, help=help_text, rich_help_panel=CLOUD)


WordMapOption = Annotated[
    str | None,
    _option("FILE", "YAML: your classes, each with the service's words for it (default: its words are the labels)"),
]
ServiceModelOption = Annotated[str | None, _option("NAME", "Model of cloud:openai-compatible")]
ClassesOption = Annotated[str | None, _option("CLASS,CLASS", "Classes that cloud:openai-compatible chooses from")]
PriceOption = Annotated[float | None, _option("DOLLARS", "Price of 1,000 images (default: the vendor's list price)")]
TokenPriceOption = Annotated[
    str | None, _option("IN,OUT", "Dollars per million input and output tokens of cloud:openai-compatible")
]
MaxRequestsOption = Annotated[int | None, _option("INTEGER", "Requests at most")]
MaxCostOption = Annotated[float | None, _option("DOLLARS", "Cost at most")]
YesOption = Annotated[
    bool,
    typer.Option("--yes", metavar="", help="Send the images without asking", rich_help_panel=CLOUD),
]


@dataclass(frozen=True)
class CloudOptions:
    """What was given of these options."""

    word_map: str | None = None
    service_model: str | None = None
    classes: str | None = None
    price: float | None = None
    token_price: str | None = None
    max_requests: int | None = None
    max_cost: float | None = None
    yes: bool = False

    def check_unused(self) -> None:
        """Refuse them where the model is one of ours.

        Raises:
            SettingError: naming one.
        """
        for name, value in asdict(self).items():
            if value not in (None, False):
                raise SettingError(f"--{name.replace('_', '-')} goes with --model {PREFIX}NAME alone.")

    def parameters(self) -> dict[str, Any]:
        """Those of the flow.

        Raises:
            SettingError: where two numbers are asked for and something else was given.
        """
        given = asdict(self)
        del given["yes"]
        classes, prices = given["classes"], given["token_price"]
        given["classes"] = [each.strip() for each in classes.split(",")] if classes else None
        if prices is not None:
            try:
                first, second = (float(each) for each in prices.split(","))
            except ValueError:
                raise SettingError(f"--token-price takes two numbers, such as 0.15,0.6, not {prices!r}.") from None
            given["token_price"] = [first, second]
        return given


def agree(estimate: Estimate, yes: bool) -> None:
    """Say what will be sent, and ask, unless that was answered by `--yes`, or nothing will be sent.

    Raises:
        InputError: where the person does not agree, or nobody can be asked.
    """
    estimate.check()
    sys.stderr.write(estimate.sentence() + "\n")
    if yes or not estimate.num_requests:
        return
    if not sys.stdin.isatty():
        raise InputError("Nobody can be asked here whether to send them. Give --yes.")
    if not typer.confirm("Send them?", err=True):
        raise InputError("Nothing was sent.")


def score_by_service(
    folder: list[str] | None, files: str | None, model: str, how: Any, given: CloudOptions, more: dict[str, Any]
) -> None:
    """What the command `score` does where its model is a recognition service.

    Args:
        folder: Of the command.
        files: Of the command.
        model: `cloud:` and the service.
        how: Where results are, and how they are shown.
        given: The options of services.
        more: Other parameters of the flow, and `limits`.

    Raises:
        SettingError: where limits are given.
    """
    from darkroom.flows import scoring_input
    from darkroom.flows.score_cloud import asked_of, estimate
    from darkroom.flows.settings import open_workspace

    _refuse_limits(more.pop("limits"))
    parameters = given.parameters()
    asked, place = asked_of(model, **parameters), open_workspace(how.workspace)
    with scoring_input.given(folder, files) as found:
        agree(estimate(found.images, asked, more["out"], place), given.yes)
        with how.prepared(tensorflow=False):
            from darkroom.flows.score_cloud import score_cloud

            named = {"files": found.files, "workspace": how.workspace}
            result = score_cloud(found.folder, model, **more, **parameters, **named)
    how.show(result)


def score_in_python(
    folder: str | list[str], model: str, options: Mapping[str, Any], how: dict[str, Any]
) -> ScoreResult:
    """What `darkroom.score` does where its model is a recognition service.

    Args:
        folder: The images.
        model: `cloud:` and the service.
        options: Of services, as given.
        how: Other parameters of the flow, and `limits`.

    Raises:
        SettingError: where an option is unknown, or the model is no service.
        InputError: where `yes` is not given, with what would be sent.
    """
    from darkroom.flows.score_cloud import asked_of, estimate, score_cloud
    from darkroom.flows.scoring_input import images_given
    from darkroom.flows.settings import open_workspace

    _refuse_limits(how.pop("limits"))
    parameters = dict(options)
    unknown = sorted(parameters.keys() - {each.name for each in fields(CloudOptions)})
    if unknown:
        raise SettingError(f"score() has no argument {unknown[0]!r}.")
    if not model.startswith(PREFIX):
        raise SettingError(f"{min(parameters)!r} goes with a model such as '{PREFIX}google-vision' alone.")
    yes = parameters.pop("yes", False)
    asked, place = asked_of(model, **parameters), open_workspace(how["workspace"])
    found = estimate(images_given(folder), asked, how["out"], place)
    found.check()
    if found.num_requests and not yes:
        raise InputError(f"{found.sentence()} Give yes=True to send them.")
    return score_cloud.plain(folder, model, **how, **parameters)


def _refuse_limits(limits: Any) -> None:
    """Limits compare with a training profile, which a service has not."""
    if limits is not None:
        raise SettingError("Limits go with a model of one's own: a recognition service is not watched.")
