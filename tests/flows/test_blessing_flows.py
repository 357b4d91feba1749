"""From evaluation to scoring: the version that was blessed is the one that scores, until it is moved by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from darkroom.data.errors import InputError
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest.request import IngestSettings
from darkroom.data.stores.workspace import Workspace
from darkroom.flows.evaluate import evaluate
from darkroom.flows.ingest import ingest
from darkroom.flows.promote import promote
from darkroom.flows.results import EvaluateResult
from darkroom.flows.rollback import rollback
from darkroom.flows.score import score
from darkroom.flows.train import train
from darkroom.flows.versus import versus
from darkroom.models.evaluation.reporting.report import EvaluatedOn, EvaluationReport, find_test_report
from darkroom.models.scoring.summary import read_summary
from darkroom.models.settings import BlessingRules, TrainSettings
from tests.datasets import write_images
from tests.told import told

# Eighteen test images rule out no loss, and an untrained network need not beat guessing by much.
RULES = BlessingRules(max_possible_loss=1.0, recall_margin=1.0, calibration_margin=1.0)


def settings(seed: int) -> TrainSettings:
    return TrainSettings(name="night", model="cifar4", weights="none", epochs=3, batch_size=12, seed=seed)


@pytest.fixture(scope="module")
def place(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two versions of `night`, trained; neither judged."""
    root = tmp_path_factory.mktemp("workspace")
    source = write_images(root / "source" / "colours")
    policy = DecodePolicy(image_size=(32, 32))
    ingest(str(source), IngestSettings(name="colours", policy=policy), max_judged=0, workspace=str(root))
    for seed in (3, 4):
        train("colours", settings(seed), str(root))
    return Workspace(root)


@pytest.fixture(scope="module")
def judged(place: Workspace) -> list[EvaluateResult]:
    """Both, judged in the order in which they were trained."""
    bundles = sorted((place.models / "night").glob("*/bundle.json"), key=lambda path: path.stat().st_mtime_ns)
    return [evaluate(f"night@{path.parent.name}", rules=RULES, workspace=str(place.root)) for path in bundles]


def artifact(key: str) -> str:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import ArtifactSort

    with get_client(sync_client=True) as client:
        newest_first = client.read_artifacts(sort=ArtifactSort.CREATED_DESC, limit=200)
    return next(str(found.data) for found in newest_first if found.key == key)


def read_report(place: Workspace, version: str) -> EvaluationReport:
    report = find_test_report(place.model("night", version) / "report")
    assert report is not None
    return report


def blessed_card(place: Workspace) -> dict[str, Any]:
    card: dict[str, Any] = json.loads(place.blessed_card("night").read_text())
    return card


def test_before_anything_is_judged_scoring_the_blessed_one_says_what_to_do(place: Workspace) -> None:
    with pytest.raises(InputError, match=r"night is blessed yet.*darkroom evaluate night"):
        score(str(place.root / "source"), "night@blessed", workspace=str(place.root))
    with pytest.raises(InputError, match="No version of 'night' is blessed"):
        rollback("night", workspace=str(place.root))


def test_the_decision_is_in_the_result_the_pointer_and_the_runs_artifact(
    place: Workspace, judged: list[EvaluateResult]
) -> None:
    first, second = judged
    assert first.blessed
    assert first.blessing == "first version; meets the minimum thresholds"
    assert told(first)["blessed"] == f"yes: {first.blessing}"
    version = (second if second.blessed else first).bundle.partition("@")[2]
    card = blessed_card(place)
    assert card["current"] == version
    assert UUID(card["history"][0]["run_id"])
    shown = artifact("blessing-night")
    assert shown.startswith(f"# {second.bundle} is {'blessed' if second.blessed else 'not blessed'}")
    assert "| Better than chance | yes |" in shown


def test_a_table_of_other_answers_is_shown_beside_the_models_own(
    place: Workspace, judged: list[EvaluateResult], tmp_path: Path
) -> None:
    images = sorted((place.root / "source/colours/test").rglob("[0-9]*"))
    table = tmp_path / "service.csv"
    table.write_text("file,label\n" + "".join(f"{path.name},{path.parent.name}\n" for path in images[:-2]))
    result = versus(judged[0].bundle, str(table), workspace=str(place.root))
    num_images = judged[0].num_images
    assert (result.overall.table.num_correct, result.overall.table.num_images) == (num_images - 2, num_images)
    assert (result.overall.model.num_correct, result.num_unanswered) == (judged[0].num_correct, 2)
    assert Path(result.rows).is_file()
    lines = told(result)
    assert lines["table"].endswith("service.csv; 2 images without an answer count as wrong")
    assert lines["answered"].startswith(f"{num_images - 2} images: model ")
    assert f"| all | {num_images} | {judged[0].num_correct} | {num_images - 2} |" in artifact("versus-night")


def test_promote_and_rollback_move_what_scores(place: Workspace, judged: list[EvaluateResult]) -> None:
    versions = [result.bundle.partition("@")[2] for result in judged]
    current = blessed_card(place)["current"]
    (other,) = set(versions) - {current}
    promoted = promote(f"night@{other}", "the camera was changed", str(place.root))
    assert (promoted.blessed, promoted.replaced, promoted.why) == (other, current, "the camera was changed")
    assert "the camera was changed" in artifact("blessing-night")
    assert told(promoted)["blessed"] == f"night@{other}, replaces night@{current}"
    assert (promoted.already, promoted.evaluated) == (False, EvaluatedOn.of(read_report(place, other)))
    again = promote(f"night@{other}", "twice", str(place.root))
    assert (again.already, again.blessed, again.why) == (True, other, "the camera was changed")
    folder, out = str(place.root / "source/colours/test"), str(place.root / "table")
    table = score(folder, "night@blessed", out, workspace=str(place.root))
    assert table.bundle == f"night@{other}"
    assert table.chosen is not None
    assert (table.chosen.by, table.chosen.blessed, table.chosen.newest) == ("blessed", other, versions[1])
    assert read_summary(Path(out)).chosen == table.chosen
    assert json.loads(Path(f"{out}.run.json").read_text())["settings"]["chosen"]["by"] == "blessed"
    assert next(iter(told(table).items())) == ("model", f"night@{other}: {table.chosen.reason}")
    back = rollback("night", "it was not", str(place.root))
    assert (back.blessed, back.replaced) == (current, other)
    assert Path(back.folder) == place.model("night", current)
    with pytest.raises(InputError, match=rf"night@{other}.*night@{current}.*--rescore"):
        score(folder, "night", out, workspace=str(place.root))
    table = score(folder, "night", out, rescore=True, workspace=str(place.root))
    assert table.bundle == f"night@{current}"
    assert table.rows_reused == 0  # of another bundle
    assert blessed_card(place)["history"][-1]["run_id"]


def test_a_version_that_was_never_evaluated_is_blessed_only_when_told(
    place: Workspace, judged: list[EvaluateResult]
) -> None:
    before = blessed_card(place)
    made = train("colours", settings(5), str(place.root))
    with pytest.raises(InputError, match=rf"{made.bundle} was never evaluated.*--unevaluated"):
        promote("night@newest", workspace=str(place.root))
    with pytest.raises(InputError, match=rf"3 versions.*night@newest: {made.bundle} \(not evaluated\); .*accuracy 0"):
        promote("night", workspace=str(place.root), unevaluated=True)
    assert blessed_card(place) == before
    promoted = promote("night@newest", workspace=str(place.root), unevaluated=True)
    assert (f"night@{promoted.blessed}", promoted.evaluated) == (made.bundle, None)
    rollback("night", workspace=str(place.root))


def test_a_version_that_was_refused_is_blessed_only_by_force(place: Workspace, judged: list[EvaluateResult]) -> None:
    before = blessed_card(place)
    made = train("colours", settings(6), str(place.root))
    strict = RULES.model_copy(update={"min_accuracy": 1.0, "min_test_images": 19})
    refused = evaluate(made.bundle, rules=strict, workspace=str(place.root))
    assert refused.blessed is False
    with pytest.raises(InputError, match=rf"{made.bundle} refused it: .*--force") as told_why:
        promote(made.bundle, workspace=str(place.root), unevaluated=True)
    assert str(refused.blessing) in str(told_why.value)
    assert blessed_card(place) == before
    promoted = promote(made.bundle, workspace=str(place.root), force=True)
    assert f"night@{promoted.blessed}" == made.bundle
    rollback("night", workspace=str(place.root))


def test_deployments_that_score_use_what_is_blessed() -> None:
    import yaml

    declared = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())["deployments"]
    models = [each["parameters"]["model"] for each in declared if each["entrypoint"] == "darkroom.flows.deployed.score"]
    assert len(models) == 2
    assert all(model.endswith("@blessed") for model in models)
