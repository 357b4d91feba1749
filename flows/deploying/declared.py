"""What a server is to hold: `prefect.yaml` and `automations.yaml` of this folder, which the wheel carries too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
WORK_POOL = "darkroom"


@dataclass(frozen=True)
class Declared:
    """A deployment.

    Attributes:
        name: Its name.
        entrypoint: The flow, as a name to import.
        description: What it does.
        tags: Its tags.
        parameters: Those that it starts with.
        limit: How many of its runs may be at work at once.
        strategy: What becomes of a run beyond the limit, such as `ENQUEUE`.
        pull_steps: What a worker does before a run.
        work_pool: Who runs it.
        job_variables: For the work pool, such as `env`.
    """

    name: str
    entrypoint: str
    description: str
    tags: tuple[str, ...]
    parameters: dict[str, Any]
    limit: int
    strategy: str
    pull_steps: list[dict[str, Any]]
    work_pool: str
    job_variables: dict[str, Any]


def declared_deployments() -> list[Declared]:
    """The deployments of `prefect.yaml`."""
    read = yaml.safe_load((HERE / "prefect.yaml").read_text(encoding="utf-8"))
    return [
        Declared(
            name=each["name"],
            entrypoint=each["entrypoint"],
            description=each["description"],
            tags=tuple(each["tags"]),
            parameters=each["parameters"],
            limit=each["concurrency_limit"]["limit"],
            strategy=each["concurrency_limit"]["collision_strategy"],
            pull_steps=read["pull"],
            work_pool=each["work_pool"]["name"],
            job_variables=each["work_pool"]["job_variables"],
        )
        for each in read["deployments"]
    ]


def declared_automations() -> list[dict[str, Any]]:
    """The automations of `automations.yaml`, as Prefect takes them."""
    read: list[dict[str, Any]] = yaml.safe_load((HERE / "automations.yaml").read_text(encoding="utf-8"))
    return read
