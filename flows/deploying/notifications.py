"""Messages of incidents: the block of Prefect that sends them, and the automation that says when."""

from __future__ import annotations

import logging
import re
from typing import Any

from pydantic import SecretStr

from darkroom.data.errors import SettingError
from darkroom.flows.deploying.automations import apply_automation
from darkroom.flows.deploying.change import Change

NAME = "darkroom-incidents"
STATES = ("Failed", "Crashed", "Late")
_STATE = "event.resource['prefect.state-name']"
_SUBJECT = "{{ event.resource['prefect.resource.name'] }}: {{ " + _STATE + " }}"
_BODY = (
    "{% if " + _STATE + " == 'Late' %}No worker has taken this run, which was due. Is one running?"
    "{% else %}{{ event.resource['prefect.state-message'] }}{% endif %}\n"
    "Run {{ event.resource['prefect.resource.id'] }}"
)


def apply_notifications(client: Any, url: SecretStr) -> list[Change]:
    """Let the server send one message for each run of Darkroom that has failed, crashed or is late.

    Args:
        client: A synchronous client of the server.
        url: Where to: a webhook, or a URL of Apprise, such as `mailto://…` or `slack://…`. It is kept in a block, and
            shown nowhere.

    Raises:
        SettingError: where nothing can be sent to such a URL; the message does not repeat it.
    """
    block, block_id = _apply_block(client, _for_apprise(url))
    action = {"type": "send-notification", "block_document_id": str(block_id), "subject": _SUBJECT, "body": _BODY}
    automation = {
        "name": NAME,
        "description": "A message for each run that has failed, crashed or is late.",
        "trigger": {
            "type": "event",
            "posture": "Reactive",
            "match": {"prefect.resource.id": "prefect.flow-run.*"},
            "match_related": {"prefect.resource.id": "prefect.tag.darkroom", "prefect.resource.role": "tag"},
            "expect": [f"prefect.flow-run.{state}" for state in STATES],
            "threshold": 1,
            "within": 0,
        },
        "actions": [action],
    }
    return [block, apply_automation(client, automation)]


def _for_apprise(url: SecretStr) -> SecretStr:
    """The URL as Apprise takes it: any other webhook gets JSON with `title` and `message`."""
    from apprise import Apprise

    logging.getLogger("apprise").disabled = True  # it would show a URL that it cannot parse
    given = url.get_secret_value().strip()
    webhook = re.fullmatch(r"http(s?)://([^?]+)(?:\?(.*))?", given, re.IGNORECASE | re.DOTALL)
    for candidate in (given, *([_as_json(*webhook.groups())] if webhook else [])):
        if Apprise.instantiate(candidate, suppress_exceptions=True):
            return SecretStr(candidate)
    raise SettingError(
        "--notify takes the http:// or https:// URL of a webhook, or a URL of Apprise, such as "
        "mailtos://USER:PASSWORD@HOST or slack://TOKEN. Nothing can be sent to the one given."
    )


def _as_json(secure: str, place: str, query: str | None) -> str:
    """A webhook as a URL of Apprise, which passes on only those parameters that begin with a dash."""
    parameters = "&".join(f"-{each}" for each in (query or "").split("&") if each)
    return f"json{secure}://{place}" + (f"?{parameters}" if parameters else "")


def _apply_block(client: Any, url: SecretStr) -> tuple[Change, Any]:
    """The block that holds the URL. Prefect has no block for Apprise as such; this one takes all of its URLs."""
    from prefect.blocks.notifications import SlackWebhook

    slug = SlackWebhook.get_block_type_slug()
    found = _load(client, slug)
    if found is not None and found.data.get("url") == url.get_secret_value():
        return Change(kind="notification", name=NAME, done="unchanged", what="the URL is kept as a secret"), found.id
    saved = SlackWebhook(url=url, notify_type="failure").save(NAME, overwrite=True)
    done = "changed" if found is not None else "created"
    return Change(kind="notification", name=NAME, done=done, what="the URL is kept as a secret"), saved


def _load(client: Any, slug: str) -> Any:
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_block_document_by_name(NAME, slug, include_secrets=True)
    except ObjectNotFound:
        return None
