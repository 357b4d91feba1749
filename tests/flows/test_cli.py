"""The command `darkroom` as a shell sees it: exit status, what is on which stream, and every option."""

from __future__ import annotations

import importlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from darkroom.data.images.pixels.augment import PRESETS
from darkroom.data.sources import resolve
from darkroom.data.stores.workspace import Workspace
from darkroom.flows import launch, scoring_input, settings, up_to_date
from darkroom.flows.options import BLESSING_OPTIONS, INGEST_OPTIONS, TRAIN_OPTIONS
from darkroom.flows.recipe import Recipe
from darkroom.models.settings import BlessingRules
from tests.bundles import tiny_bundle
from tests.command_line import ROOT, call, darkroom, in_process
from tests.datasets import photograph

# For each option a value that is not the default, as typed and as the setting that it gives.
INGEST_VALUES: Mapping[str, tuple[list[str], Any]] = {
    "image-size": (["48x64"], (48, 64)),
    "resize": (["crop"], "crop"),
    "interpolation": (["lanczos"], "lanczos"),
    "labels-from": (["filename"], "filename"),
    "labels-csv": (["a.csv"], "a.csv"),
    "label-pattern": (["(?P<label>.+)"], "(?P<label>.+)"),
    "path-column": (["file"], "file"),
    "label-column": (["kind"], "kind"),
    "split-column": (["part"], "part"),
    "class-folder": (["test,photos"], ("test", "photos")),
    "exclude": (["raw/*"], ("raw/*",)),
    "masks": (["use"], "use"),
    "bad-rows": (["leave-out"], "leave-out"),
    "combined-labels": (["keep"], "keep"),
    "numeric-labels": (["keep"], "keep"),
    "min-class-size": (["4"], 4),
    "corrections": (["c.csv"], ("c.csv",)),
    "window": (["0,4095"], (0, 4095)),
    "task": (["multi-label"], "multi-label"),
    "label-separator": ([" + "], " + "),
    "empty-labels": (["no-label"], "no-label"),
    "validation": (["0.2"], 0.2),
    "test": (["0.25"], 0.25),
    "split-seed": (["7"], 7),
    "keep-splits": ([], False),
    "format": (["parquet"], "parquet"),
    "images": (["jpeg"], "jpeg"),
    "rows-per-shard": (["123"], 123),
    "copies": (["2"], 2),
    "copy-augment": (["strong"], PRESETS["strong"].model_dump()),
    "max-quarantined-share": (["0.125"], 0.125),
    "leaks": (["keep"], "keep"),
}
# What else has to be typed for an option to be allowed.
NEEDED = {
    "copies": ["--copy-augment", "light"],
    "label-separator": ["--task", "multi-label"],
    "empty-labels": ["--task", "multi-label"],
}
TRAIN_VALUES: Mapping[str, tuple[list[str], Any]] = {
    "architecture": (["cifar6"], "cifar6"),
    "weights": (["none"], "none"),
    "epochs": (["3"], 3),
    "batch-size": (["5"], 5),
    "optimizer": (["sgd"], "sgd"),
    "learning-rate": (["0.25"], 0.25),
    "schedule": (["constant"], "constant"),
    "weight-decay": (["0.125"], 0.125),
    "label-smoothing": (["0.0625"], 0.0625),
    "dropout": (["0.75"], 0.75),
    "augment": (["scans"], PRESETS["scans"].model_dump()),
    "mixup": (["0.5"], 0.5),
    "cutmix": (["1"], 1.0),
    "class-weights": ([], False),
    "patience": (["4"], 4),
    "fine-tune-layers": (["6"], 6),
    "fine-tune-epochs": (["8"], 8),
    "fine-tune-learning-rate": (["0.5"], 0.5),
    "flip-average": ([], True),
    "calibration": (["isotonic"], "isotonic"),
    "min-precision": (["0.9"], 0.9),
    "min-coverage": (["0.8"], 0.8),
    "seed": (["11"], 11),
    "workers": (["2"], 2),
}


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """What stands on standard error: one line, and nothing on standard output."""
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("darkroom: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("darkroom: ").strip()


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the flows are called with; they themselves do nothing."""
    calls: list[Any] = []
    for flow in ("run", "ingest", "train", "evaluate", "versus"):
        module = importlib.import_module(f"darkroom.flows.{flow}")
        monkeypatch.setattr(module, flow, lambda *arguments, **_: calls.append(arguments))
    for find in ("ran", "ingested", "inspected", "trained", "evaluated", "explained", "scored"):
        monkeypatch.setattr(up_to_date, find, lambda *_, **__: None)
    monkeypatch.setattr(Workspace, "find_model", lambda *_: Path())
    monkeypatch.setattr(resolve, "at_hand", lambda *_: None)
    monkeypatch.setattr(settings, "local_copy", lambda *_: None)
    find_images = scoring_input.images_given
    monkeypatch.setattr(
        scoring_input, "images_given", lambda named, files: Path() if named else find_images(named, files)
    )
    monkeypatch.setattr(launch, "prepared", lambda *_, **__: nullcontext())
    monkeypatch.setattr(launch, "show", lambda result, as_json: None)
    return calls


@pytest.mark.parametrize("option", INGEST_OPTIONS)
def test_every_ingest_option_changes_its_setting_and_no_other(
    option: str, given: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed, value = INGEST_VALUES[option]
    name = f"--no-{option}" if value is False else f"--{option}"
    needed = NEEDED.get(option, [])
    call(monkeypatch, "ingest", "photos", "--name", "x", *needed)
    call(monkeypatch, "ingest", "photos", "--name", "x", *needed, name, *typed)
    (_, before, *_), (source, after, *_) = given
    assert source == "photos"
    _assert_only_changed(before.model_dump(), after.model_dump(), INGEST_OPTIONS[option], value)


@pytest.mark.parametrize("option", TRAIN_OPTIONS)
def test_every_train_option_changes_its_setting_and_no_other(
    option: str, given: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed, value = TRAIN_VALUES[option]
    name = f"--no-{option}" if value is False else f"--{option}"
    call(monkeypatch, "train", "photos")
    call(monkeypatch, "train", "photos", name, *typed)
    (_, before, *_), (_, after, *_) = given
    _assert_only_changed(before.model_dump(), after.model_dump(), TRAIN_OPTIONS[option][1:], value)


@pytest.mark.parametrize("option", BLESSING_OPTIONS)
def test_every_blessing_option_changes_its_rule_and_no_other(
    option: str, given: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    call(monkeypatch, "evaluate", "photos")
    given_value: float | int = 7 if option.endswith("-images") else 0.375
    call(monkeypatch, "evaluate", "photos", f"--{option}", str(given_value))
    (*_, before, _), (*_, after, _) = given
    assert before == BlessingRules()
    _assert_only_changed(before.model_dump(), after.model_dump(), BLESSING_OPTIONS[option][1:], given_value)


def _assert_only_changed(before: dict[str, Any], after: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        assert {key: before[key] for key in before if key != part} == {key: after[key] for key in after if key != part}
        before, after = before[part], after[part]
    # A setting that came later stands in the dump only where it is set: test_reading.py.
    changed = {key for key in after.keys() | before.keys() if after.get(key) != before.get(key)}
    assert changed == {path[-1]}
    assert after[path[-1]] == value


@pytest.mark.parametrize("words", [("ingest", "photos"), ("score", "photos", "--model", "x")])
def test_what_happens_with_another_decoder_reaches_the_flow(
    words: tuple[str, ...], given: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rules: list[Any] = []
    found = importlib.import_module(f"darkroom.flows.{words[0]}")
    monkeypatch.setattr(found, words[0], lambda *_, **named: rules.append(named["decoder_mismatch"]))
    call(monkeypatch, *words)
    call(monkeypatch, *words, "--decoder-mismatch", "strict")
    assert rules == [None, "strict"]


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("run", ["run", "digits"]),
        ("ingest", ["ingest", "photos"]),
        ("inspect_source", ["inspect", "photos"]),
        ("train", ["train", "photos"]),
        ("compare", ["compare", "digits", "--vary", "epochs=1,2"]),
        ("score", ["score", "photos", "--model", "x"]),
    ],
)
def test_the_runner_reaches_the_flow_and_one_that_cannot_work_is_refused_before_anything_starts(
    module: str,
    words: list[str],
    given: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parameters: list[Any] = []
    found = importlib.import_module(f"darkroom.flows.{module}")
    monkeypatch.setattr(found, words[0], lambda *_, **named: parameters.append((named["runner"], named["address"])))
    call(monkeypatch, *words)
    call(monkeypatch, *words, "--runner", "processes")
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        address = f"tcp://127.0.0.1:{somebody.getsockname()[1]}"
        call(monkeypatch, *words, "--runner", "dask", "--address", address)
    assert parameters == [(None, None), ("processes", None), ("dask", address)]
    status, error = in_process(monkeypatch, capsys, *words, "--runner", "dask", "--address", address)
    assert (status, len(parameters)) == (2, 3)
    assert error.startswith(
        f"No dask cluster answers at {address} (Connection refused). Start it with 'dask scheduler'"
    )


def test_run_takes_both_kinds_of_options_over_those_of_its_recipe(
    given: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    call(monkeypatch, "run", "digits", "--epochs", "2", "--test", "0.3", "--name", "mine", "--source", "elsewhere")
    ((plan, source, *_),) = given
    assert isinstance(plan, Recipe)
    assert (plan.train.epochs, plan.splits.test, plan.name, source) == (2, 0.3, "mine", "elsewhere")
    assert (plan.train.model, plan.splits.validation) == ("cifar4", 0.15)  # the recipe's own


def test_the_words_of_a_table_are_given_with_what_they_mean(given: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--means", "Feline=cats", "--means", "a=b=c", "--label-column", "word"]
    call(monkeypatch, "versus", "photos-cifar4", "answers.csv", *words)
    assert given == [("photos-cifar4", "answers.csv", {"Feline": "cats", "a": "b=c"}, None, "word", None, None)]


def test_the_image_size_is_the_networks_unless_it_is_given(given: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    call(monkeypatch, "run", "photos", "--architecture", "starter")
    call(monkeypatch, "run", "photos", "--architecture", "starter", "--image-size", "64")
    assert [plan.policy.image_size for plan, *_ in given] == [(96, 96), (64, 64)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["score"], "Nothing to score was given. Give a folder, image files, or --files LIST."),
        (["develop"], "No such command 'develop'. See: darkroom --help"),
        (["ingset", "x"], "No such command 'ingset'. Did you mean 'ingest'? See: darkroom --help"),
        (["train", "x", "--epoch", "1"], "No such option: --epoch (Possible options: --epochs). See: "),
        (["ingest", "x", "--image-size", "big"], "--image-size: 'big' is not a size; write 160, or"),
        (["ingest", "x", "--image-size", "7"], "--image-size takes a whole number from 8 to 4,096, not 7."),
        (["ingest", "x", "--validation", "2"], "--validation takes a number above 0 and below 1, not 2."),
        (["ingest", "x", "--copies", "many"], "--copies takes a whole number from 0 to 100, not 'many'."),
        (["ingest", "x", "--resize", "squash"], "--resize takes stretch, pad or crop, not 'squash'."),
        (["train", "x", "--optimizer", "best"], "--optimizer takes adam, "),
        (["train", "x", "--epochs", "0"], "--epochs takes a whole number from 1 to 10,000, not 0."),
        (["train", "x", "--augment", "wild"], "--augment: There is no augmentation 'wild'. Use one of none, light, "),
        (["train", "x", "--architecture", "nonet"], "There is no network 'nonet'. Use starter, "),
        (["run", "digits", "--learning-rate", "-1"], "--learning-rate takes a number above 0 and at most 10, not -1."),
        (
            ["run", "digits", "--min-precision", "0.9", "--min-coverage", "0.5"],
            "--min-precision and --min-coverage each decide the abstain threshold",
        ),
        (["train", "x", "--workers", "64"], "A batch of 32 images cannot be shared by 64 workers: raise --batch-size"),
        (["ingest", "x", "--copies", "3"], "--copies would be the same image again: set --copy-augment too"),
        (
            ["ingest", "x", "--labels-csv", "a.csv", "--label-pattern", "(.*)"],
            "--label-pattern reads labels from file names, --labels-csv from a table",
        ),
        (["ingest", "x", "--max-judged", "-1"], "--max-judged takes a whole number of at least 0, not -1. See: "),
        (["score", "x", "--precision", "fast"], "--precision takes auto, fp32 or int8, not 'fast'. See: "),
        (["evaluate", "x", "--split", "best"], "--split takes train, validation or test, not 'best'. See: "),
        (["server", "--port", "many"], "--port takes a whole number from 1 to 65,535, not 'many'. See: "),
        (["versus", "x", "t.csv", "--means", "Feline"], "--means takes WORD=CLASS, such as --means Feline=cats."),
        (["run", "no.yaml"], "The recipe no.yaml cannot be read: No such file or directory. Check the path."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_named_in_one_sentence(
    arguments: list[str],
    said: str,
    given: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, error = in_process(monkeypatch, capsys, *arguments)
    assert status == 2
    assert error.startswith(said)
    assert "\n" not in error
    assert given == []


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (OSError(28, "No space left on device", "/data/x"), "disk full: /data/x. Free some space"),
        (PermissionError(13, "Permission denied", "/data/x"), "/data/x: Permission denied. Check the path"),
        (ZeroDivisionError("by\nzero"), "the work failed: ZeroDivisionError: by zero. Run it again with --verbose"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_unexpected_failure_is_a_sentence_too(
    failure: Exception,
    said: str,
    given: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr("darkroom.flows.train.train", fail)
    status, error = in_process(monkeypatch, capsys, "train", "x")
    assert status == 1
    assert error.startswith(said)
    assert "\n" not in error


def test_an_interrupted_command_says_how_to_go_on(
    given: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("darkroom.flows.train.train", interrupt)
    status, error = in_process(monkeypatch, capsys, "train", "x")
    assert status == 130
    assert error.startswith("stopped.")


@pytest.mark.parametrize(
    ("words", "new"),
    [
        (["train", "photos", "--model", "cifar6"], ("model", "cifar6", "--model is now --architecture")),
        (
            ["train", "photos", "--fine-tune-blocks", "7"],
            ("fine_tune_blocks", 7, "--fine-tune-blocks is now --fine-tune-layers"),
        ),
    ],
    ids=["model", "fine-tune-blocks"],
)
def test_an_option_s_old_name_works_with_a_warning_on_standard_error(
    words: list[str],
    new: tuple[str, Any, str],
    given: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    setting, value, warning = new
    call(monkeypatch, *words)
    ((_, settings, *_),) = given
    assert getattr(settings, setting) == value
    written = capsys.readouterr()
    assert warning in written.err
    assert written.out == ""


def test_a_setting_under_both_names_or_switched_on_and_off_is_refused(
    given: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = ("train", "x", "--model", "cifar4", "--architecture", "cifar6")
    assert in_process(monkeypatch, capsys, *twice) == (
        2,
        "--model is the old name of --architecture. Give one of them.",
    )
    status, error = in_process(monkeypatch, capsys, "train", "x", "--flip-average", "--no-flip-average")
    assert status == 2
    assert "--no-flip-average" in error
    assert given == []


def test_scoring_loads_onnx_runtime_and_neither_tensorflow_nor_what_judges_and_draws(tmp_path: Path) -> None:
    script = "import sys\nimport darkroom.flows.score\nimport darkroom.flows.terminal\nprint(*sys.modules)\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    heavy = {"tensorflow", "keras", "sklearn", "matplotlib", "pandas", "optuna", "onnx", "prefect.server.api.server"}
    assert heavy & set(done.stdout.split()) == set()


def test_json_is_one_object_on_standard_output_from_any_folder(prefect_server: str, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(photograph("blue", 1)).save(images / "a\x1b[31m.png")
    (images / "broken.png").write_bytes(b"\x89PNG")
    bundle = tiny_bundle(tmp_path / "bundle", ["amber", "blue"], (32, 32))
    command = ("score", "images", "--model", bundle, "--out", "table")
    done = darkroom(*command, "--json", folder=tmp_path, PREFECT_API_URL=prefect_server)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert (result["num_files"], result["out"]) == (2, str(tmp_path / "table"))
    assert "Traceback" not in done.stderr
    shown = darkroom(*command, folder=tmp_path, PREFECT_API_URL=prefect_server)
    assert shown.returncode == 0
    assert "\x1b" not in shown.stdout + shown.stderr
    assert "2 files (up to date): 1 ok, 1 quarantined" in shown.stdout


def test_wrong_input_ends_with_status_2_and_failed_work_with_1(prefect_server: str, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", ["amber", "blue"], (32, 32))
    (tmp_path / "images").mkdir()
    Image.fromarray(photograph("blue", 1)).save(tmp_path / "images/a.png")
    missing = darkroom("score", "images", "--model", "gone", folder=tmp_path, PREFECT_API_URL=prefect_server)
    assert missing.returncode == 2
    assert sentence(missing).startswith(f"There is no model 'gone' in {tmp_path / 'workspace/models'}.")
    command = ("score", "images", "--model", bundle, "--out", "table")
    wrong = darkroom(*command, folder=tmp_path, PREFECT_API_URL=prefect_server, DARKROOM_MAX_WORKERS="many")
    assert wrong.returncode == 2
    assert sentence(wrong) == "DARKROOM_MAX_WORKERS takes a whole number of at least 1, not 'many'."
    unreachable = darkroom(*command, folder=tmp_path, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert unreachable.returncode == 1
    assert "Start it with 'darkroom server', or unset PREFECT_API_URL." in sentence(unreachable)


def test_the_first_command_in_a_fresh_prefect_home_needs_no_server(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", ["amber", "blue"], (32, 32))
    (tmp_path / "images").mkdir()
    Image.fromarray(photograph("blue", 1)).save(tmp_path / "images/a.png")
    home = str(tmp_path / "home")
    done = darkroom("score", "images", "--model", bundle, "--json", folder=tmp_path, PREFECT_HOME=home)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["num_files"] == 1
    assert "locked" not in done.stderr
    with closing(sqlite3.connect(tmp_path / "home" / "prefect.db")) as record:
        ((name, state),) = record.execute("select name, state_type from flow_run").fetchall()
        assert (name.split()[0], state) == ("images", "COMPLETED")
        states = record.execute("select state_type, count(*) from task_run group by state_type").fetchall()
    assert states == [("COMPLETED", 5)]  # none of the last ones is lost: find, plan, score, summarize, watch
