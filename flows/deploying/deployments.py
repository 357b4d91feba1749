"""Work pool and deployments on a server: made where they are missing, changed where Darkroom has changed.

What an operator sets stays as he left it: parameters, limits, schedules, what he paused or added.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from darkroom.flows.deploying.change import Change
from darkroom.flows.deploying.declared import Declared

_DISTRIBUTION = "darkroom-flows"
# What is said of each field of a deployment that was changed.
_WORDS = {
    "parameter_openapi_schema": "form",
    "pull_steps": "pull step",
    "job_variables": "environment",
    "work_pool_name": "work pool",
    "concurrency_options": "what happens beyond its limit",
    "enforce_parameter_schema": "check of parameters",
}


def apply_work_pool(client: Any, name: str) -> Change:
    """Make the work pool, of type `process`, where there is none of that name.

    Args:
        client: A synchronous client of the server.
        name: Of the work pool.
    """
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        found = client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))
        return Change(kind="work pool", name=name, done="created", what="type process")
    return Change(kind="work pool", name=name, done="unchanged", what=f"type {found.type}")


def apply_deployment(client: Any, declared: Declared, given: Mapping[str, Any]) -> Change:
    """Make a deployment, or change what Darkroom has changed of it since it was made.

    Args:
        client: A synchronous client of the server.
        declared: The deployment.
        given: Parameters to set; all others stay as they are on the server.
    """
    from prefect.exceptions import ObjectNotFound
    from prefect.flows import load_flow_from_entrypoint
    from prefect.utilities.callables import parameter_schema

    flow: Any = load_flow_from_entrypoint(declared.entrypoint)
    wanted = {
        "version": version(_DISTRIBUTION),
        "description": declared.description,
        "entrypoint": declared.entrypoint,
        "tags": list(declared.tags),
        "work_pool_name": declared.work_pool,
        "job_variables": declared.job_variables,
        "pull_steps": declared.pull_steps,
        "enforce_parameter_schema": True,
        "parameter_openapi_schema": json.loads(json.dumps(parameter_schema(flow).model_dump(exclude_unset=True))),
        "concurrency_options": {"collision_strategy": declared.strategy},
        "parameters": {**declared.parameters, **given},
    }
    full_name = f"{flow.name}/{declared.name}"
    try:
        found = client.read_deployment_by_name(full_name)
    except ObjectNotFound:
        _create(client, flow.name, declared, wanted)
        return Change(kind="deployment", name=full_name, done="created", what=_shown(given))
    before = _as_wanted(found)
    after = wanted | {
        "tags": [*before["tags"], *(tag for tag in declared.tags if tag not in before["tags"])],
        "job_variables": _merged(before["job_variables"], declared.job_variables),
        "parameters": _kept_parameters(before["parameters"], wanted, given),
    }
    changed = {name: value for name, value in after.items() if value != before[name]}
    if not changed:
        return Change(kind="deployment", name=full_name, done="unchanged")
    from prefect.client.schemas.actions import DeploymentUpdate

    client.update_deployment(found.id, DeploymentUpdate(**changed))
    said = ", ".join(_WORDS.get(name, name) for name in changed)
    return Change(kind="deployment", name=full_name, done="changed", what=said)


def _create(client: Any, flow_name: str, declared: Declared, wanted: Mapping[str, Any]) -> None:
    from prefect.client.schemas.objects import ConcurrencyOptions

    client.create_deployment(
        client.create_flow_from_name(flow_name),
        declared.name,
        concurrency_limit=declared.limit,
        **{**wanted, "concurrency_options": ConcurrencyOptions(collision_strategy=declared.strategy)},
    )


def _as_wanted(found: Any) -> dict[str, Any]:
    """The fields of a deployment on the server that Darkroom sets."""
    options = found.concurrency_options
    return {
        "version": found.version,
        "description": found.description,
        "entrypoint": found.entrypoint,
        "tags": list(found.tags),
        "work_pool_name": found.work_pool_name,
        "job_variables": found.job_variables,
        "pull_steps": found.pull_steps,
        "enforce_parameter_schema": found.enforce_parameter_schema,
        "parameter_openapi_schema": found.parameter_openapi_schema,
        "concurrency_options": {"collision_strategy": options.collision_strategy.value} if options else None,
        "parameters": found.parameters,
    }


def _kept_parameters(
    before: Mapping[str, Any], wanted: Mapping[str, Any], given: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The parameters on the server, without those that the flow no longer has, and with those that it now requires."""
    schema = wanted["parameter_openapi_schema"]
    required = {name: wanted["parameters"][name] for name in schema.get("required", ()) if name in wanted["parameters"]}
    return {**required, **{name: value for name, value in before.items() if name in schema["properties"]}, **given}


def _merged(before: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, Any]:
    """Job variables: ours as declared, and what else is there."""
    return {**before, **declared, "env": {**before.get("env", {}), **declared.get("env", {})}}


def _shown(given: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in given.items())
