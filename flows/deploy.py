"""`darkroom deploy`: a Prefect server gets the work pool, the deployments and the automations; no flow itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from darkroom.data.errors import SettingError
from darkroom.flows.deploying.automations import apply_automation
from darkroom.flows.deploying.change import Change
from darkroom.flows.deploying.declared import WORK_POOL, declared_automations, declared_deployments
from darkroom.flows.deploying.deployments import apply_deployment, apply_work_pool
from darkroom.flows.deploying.notifications import apply_notifications
from darkroom.flows.deploying.schedules import Daily, apply_schedule, daily
from darkroom.flows.results import SelfDescribed
from darkroom.flows.settings import notify_url
from darkroom.models.pages.description import Description, Row, Table

_INBOX, _CLEAN_RUNS = "score-inbox/score-inbox", "clean-runs/clean-runs"
_CLEANED_AT = "04:00"


@dataclass(frozen=True)
class Nightly:
    """The inbox that is scored every night.

    Attributes:
        inbox: A folder or URL, on the worker's machine.
        model: A model, as `darkroom score` takes it.
        when: At what time.
        out: Folder or URL of the table; None takes one in the workspace.
    """

    inbox: str
    model: str
    when: Daily
    out: str | None = None

    def parameters(self) -> dict[str, Any]:
        """Those of the deployment; the date of a night is that of its time zone."""
        given = {"folder": self.inbox, "model": self.model, "time_zone": self.when.timezone}
        return given | ({"out": self.out} if self.out else {})


class DeployResult(SelfDescribed):
    """What the server holds now, and what of it is new."""

    server: str
    changes: tuple[Change, ...]

    def description(self) -> Description:
        """What was done about each."""
        said = [f"{len(done)} {word}" for word in ("created", "changed", "unchanged") if (done := self._all(word))]
        rows = (Row(label="server", text=self.server), Row(label="deployed", text=", ".join(said)))
        cells = tuple((each.kind, each.name, each.done, each.what) for each in self.changes)
        remark = (
            f"Start a worker on each machine that does the work: prefect worker start --pool {WORK_POOL} --type process"
        )
        described = Description(title=f"Deployed to {self.server}", rows=rows, remarks=(remark,))
        return described.with_tables(Table(title="On the server", columns=("what", "name", "", ""), cells=cells))

    def _all(self, done: str) -> list[Change]:
        return [each for each in self.changes if each.done == done]


def planned_night(
    inbox: str | None, model: str | None, at: str | None, timezone: str | None, out: str | None
) -> Nightly | None:
    """The night as the options describe it; None where no inbox is given.

    Raises:
        SettingError: where an option is missing, cannot be parsed, or goes with none given.
    """
    if inbox is None:
        alone = {"--model": model, "--at": at, "--out": out}
        other = next((name for name, value in alone.items() if value is not None), None)
        if other:
            raise SettingError(f"{other} describes the nightly run of an inbox. Give --inbox too.")
        return None
    if model is None:
        raise SettingError("--inbox needs --model, such as --model photos-efficientnet-lite0@blessed.")
    return Nightly(inbox, model, daily(at or "02:00", timezone or "UTC"), out)


def kept_days(given: str | None) -> int | None:
    """How many days runs are kept, from text such as `30d`.

    Raises:
        SettingError: where it cannot be parsed.
    """
    if given is None:
        return None
    digits = given.removesuffix("d")
    if not digits.isascii() or not digits.isdigit() or int(digits) < 1:
        raise SettingError(f"--keep-runs takes a number of days such as 30d, not '{given}'.")
    return int(digits)


def deploy(
    night: Nightly | None = None, notify: str | None = None, keep_days: int | None = None, timezone: str = "UTC"
) -> DeployResult:
    """Put on the server all that Darkroom's runs need, and change nothing that is there already as it should be.

    Args:
        night: The inbox that is scored every night.
        notify: Where messages of incidents go; None takes DARKROOM_NOTIFY, or leaves all as it is.
        keep_days: How long ended runs are kept; None leaves that as it is.
        timezone: Of the time at which older ones are removed.

    Raises:
        SettingError: where no server is named.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    api_url = get_current_settings().api.url
    if not api_url:
        raise SettingError(
            "No Prefect server is named. Start one with 'darkroom server', and set PREFECT_API_URL to its address, "
            "such as http://127.0.0.1:4200/api."
        )
    given: dict[str, dict[str, Any]] = {}
    if night:
        given[_INBOX.partition("/")[2]] = night.parameters()
    if keep_days:
        given[_CLEAN_RUNS.partition("/")[2]] = {"keep_days": keep_days}
    url = notify_url(notify)
    with get_client(sync_client=True) as client:
        changes = [apply_work_pool(client, WORK_POOL)]
        changes += [apply_deployment(client, each, given.get(each.name, {})) for each in declared_deployments()]
        if night:
            changes.append(apply_schedule(client, _INBOX, night.when))
        if keep_days:
            changes.append(apply_schedule(client, _CLEAN_RUNS, daily(_CLEANED_AT, timezone)))
        changes += [apply_automation(client, each) for each in declared_automations()]
        if url:
            changes += apply_notifications(client, url)
    return DeployResult(server=api_url, changes=tuple(changes))
