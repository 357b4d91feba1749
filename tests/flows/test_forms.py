"""The forms by which runs are started in Prefect's UI: what they say and refuse, and that their defaults chain."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect.exceptions import ParameterTypeError
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from darkroom.data.errors import InputError
from darkroom.flows.deploying.declared import Declared, declared_deployments
from tests.datasets import write_images

DEPLOYMENTS = declared_deployments()
DEFAULTS = {each.name: each.parameters for each in DEPLOYMENTS}


def schema_of(deployment: Declared) -> dict[str, Any]:
    return parameter_schema(load_flow_from_entrypoint(deployment.entrypoint)).model_dump(exclude_unset=True)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each.name)
def test_a_form_shows_all_of_its_text_and_says_what_its_defaults_do_not_give(deployment: Declared) -> None:
    """What stands in angle brackets the UI takes for HTML."""
    schema = schema_of(deployment)
    for table in (schema, *schema.get("definitions", {}).values()):
        assert [name for name, about in table.get("properties", {}).items() if "<" in about["description"]] == []
    missing = set(schema.get("required", ())) - set(deployment.parameters)
    assert [name for name in missing if not schema["properties"][name]["description"].startswith("Required")] == []
    assert set(deployment.parameters) <= set(schema["properties"])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("score-folder", {"folder": "x", "rows_per_part": 0}),
        ("score-folder", {"folder": "x", "precision": "int4"}),
        ("score-folder", {"folder": "x", "split": "tset"}),
        ("score-inbox", {"settle_seconds": -1}),
        ("evaluate-model", {"split": "tests"}),
        ("ingest-source", {"max_judged": -1}),
        ("clean-workspace", {"keep": 0}),
        ("clean-runs", {"keep_days": 0}),
        ("label-next", {"folder": "x", "budget": 0}),
        ("explain-images", {"images": ["x"], "max_searched": -1}),
        ("train-model", {"settings": {"batch_size": 0}}),
    ],
)
def test_what_cannot_be_right_is_refused_before_the_run_starts(name: str, wrong: dict[str, Any]) -> None:
    (deployment,) = [each for each in DEPLOYMENTS if each.name == name]
    flow: Any = load_flow_from_entrypoint(deployment.entrypoint)
    right = {key: value for key, value in wrong.items() if key in ("folder", "images")}
    flow.validate_parameters({**deployment.parameters, **right})
    with pytest.raises(ParameterTypeError):
        flow.validate_parameters({**deployment.parameters, **wrong})


def test_the_defaults_of_the_deployments_chain_from_a_source_to_a_table(
    prefect_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names are those of the defaults; the images are few, and the network is a small one of the default's name."""
    from darkroom.flows import deployed

    monkeypatch.chdir(tmp_path)
    place = {"workspace": "workspace"}
    images = write_images(tmp_path / DEFAULTS["ingest-source"]["source"].partition(":")[2])
    data = deployed.ingest(**{**DEFAULTS["ingest-source"], "source": str(images), "max_judged": 0}, **place)
    assert data.dataset.partition("@")[0] == DEFAULTS["train-model"]["dataset"]
    small = {"model": "cifar4", "weights": "none", "epochs": 1, "name": "digits-efficientnet-lite0"}
    model = deployed.train(**DEFAULTS["train-model"], settings=small, **place)
    report = deployed.evaluate(**DEFAULTS["evaluate-model"], **place)
    assert report.bundle == model.bundle
    if not report.blessed:
        with pytest.raises(InputError, match="--force"):
            deployed.promote(**DEFAULTS["promote-model"], **place)
    blessed = deployed.promote(**DEFAULTS["promote-model"], force=True, **place)
    table = deployed.score(**DEFAULTS["score-folder"], folder=str(images / "test"), **place)
    assert table.bundle == model.bundle == f"{blessed.name}@{blessed.blessed}"
    assert table.num_files > 0


def test_a_run_on_a_worker_does_not_begin_with_the_lines_of_tensorflow() -> None:
    script = "import darkroom.flows.deployed, tensorflow as tf; tf.constant(0)"
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
