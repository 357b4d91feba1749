"""A bundle that somebody else made hangs nothing, reads nothing outside its folder, and is refused in one sentence."""

from __future__ import annotations

import json
import os
import resource
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np
import pytest

from darkroom.data.errors import FormatError
from darkroom.data.files import cards
from darkroom.data.files.hashing import file_sha256
from darkroom.models.bundle import bundle
from darkroom.models.bundle.bundle import open_bundle
from tests.bundles import tiny_bundle
from tests.command_line import darkroom

LABELS = ("cats", "dogs", "owls")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny" / "1", LABELS, (16, 16))


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(original, tmp_path / "bundle")


def change_card(folder: Path, **values: object) -> None:
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def list_files_again(folder: Path) -> None:
    """What somebody does who sends a bundle of his own making: the card fits its files."""
    facts = [
        {"file": name, "bytes": (folder / name).stat().st_size, "sha256": file_sha256(folder / name)}
        for name in ("model.keras", "model.onnx")
    ]
    change_card(folder, files=facts)


def peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def refusal(folder: Path) -> str:
    with pytest.raises(FormatError) as caught:
        open_bundle(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 1000
    sentence.encode()
    return sentence


@pytest.mark.parametrize("name", ["bundle.json", "model.onnx", "model.keras"])
@pytest.mark.parametrize("target", ["/dev/zero", "/etc/hostname", "../elsewhere"])
def test_a_link_that_leads_out_of_the_folder_is_refused_and_not_read(name: str, target: str, folder: Path) -> None:
    shutil.copy(folder / name, folder.parent / "elsewhere")
    (folder / name).unlink()
    (folder / name).symlink_to(target)
    assert f"{name} is a link that leads out of" in refusal(folder)


@pytest.mark.parametrize("name", ["bundle.json", "model.onnx"])
def test_a_pipe_in_place_of_a_file_does_not_hang(name: str, folder: Path) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert "is a FIFO, a socket or a device" in refusal(folder)


def test_a_report_that_is_a_link_is_refused_because_evaluation_would_write_through_it(folder: Path) -> None:
    (folder.parent / "home").mkdir()
    (folder / "report").symlink_to("../home")
    assert "report is a link that leads out of" in refusal(folder)
    (folder / "report").unlink()
    (folder / "report").mkdir()
    (folder / "report" / "explain").symlink_to("../../home")
    assert "explain is a link that leads out of" in refusal(folder)


def test_a_link_within_the_folder_and_a_folder_that_is_a_link_are_read(folder: Path) -> None:
    (folder / "model.onnx").rename(folder / "weights.onnx")
    (folder / "model.onnx").symlink_to("weights.onnx")
    (folder.parent / "link").symlink_to(folder)
    assert open_bundle(folder.parent / "link").card == open_bundle(folder).card


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"schema_version": 2, "settings": ' + '{"a":' * 50_000 + "1" + "}" * 50_001,
        '{"schema_version": 2, "labels": ["\\ud800", "b"]}',
        '{"schema_version": 2, "best_epoch": 1' + "0" * 5000 + "}",
        '{"schema_version": 2e999}',
        '{"schema_version": "\\u0000"}',
        "\ufeff{}",
        "\x00" * 100,
    ],
    ids=["brackets", "objects", "surrogate", "long number", "infinite", "null", "mark", "zeros"],
)
def test_json_that_no_program_of_ours_writes_is_refused(text: str, folder: Path) -> None:
    (folder / "bundle.json").write_text(text)
    assert str(folder / "bundle.json") in refusal(folder)


def test_a_card_of_too_many_bytes_or_values_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (folder / "bundle.json").open("r+") as stream:
        stream.truncate(cards.MAX_CARD_BYTES + 1)
    assert "256 MiB, too much for a card" in refusal(folder)
    monkeypatch.setattr(bundle, "MAX_CARD_VALUES", 1000)
    (folder / "bundle.json").write_text("[" + "[]," * 1000 + "[]]")
    assert "more than 1,000 values" in refusal(folder)


@pytest.mark.parametrize("field", ["network_stages", "history", "libraries", "files", "calibration.curves"])
def test_a_card_of_a_million_wrong_values_takes_little_memory(field: str, folder: Path) -> None:
    card = json.loads((folder / "bundle.json").read_text())
    *outer, name = field.split(".")
    inner = card[outer[0]] if outer else card
    inner[name] = "many"
    (folder / "bundle.json").write_text(json.dumps(card).replace('"many"', "[" + "[]," * 900_000 + "[]]"))
    before = peak_bytes()
    assert f"{field}.0" in refusal(folder)
    assert peak_bytes() - before < 512 * 2**20


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"labels": ["cats", "dogs"] + ["x"] * 2}, "twice"),
        ({"labels": ["cats"]}, "labels"),
        ({"labels": ["cats", "\x1b[2J", "dogs"]}, "labels.1"),
        ({"labels": ["cats", "", "dogs"]}, "labels.1"),
        ({"labels": ["cats", "d" * 1001, "dogs"]}, "labels.1"),
        ({"name": "../../etc"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"version": "1/2"}, "version"),
        ({"dataset": "\x1b]0;title\x07"}, "dataset"),
        ({"threshold": float("nan")}, "threshold"),
        ({"validation_accuracy": float("inf")}, "validation_accuracy"),
        ({"num_parameters": 10**400}, "num_parameters"),
        ({"embedding_size": 2**40}, "embedding_size"),
    ],
    ids=str,
)
def test_a_value_that_no_bundle_has_is_refused_with_its_field(values: dict[str, Any], where: str, folder: Path) -> None:
    change_card(folder, **values)
    assert where in refusal(folder)


@pytest.mark.parametrize("size", [1e30, 2**40, 10**400, -1])
def test_a_policy_that_would_take_all_memory_is_refused(size: float, folder: Path) -> None:
    policy = json.loads((folder / "bundle.json").read_text())["policy"]
    change_card(folder, policy=policy | {"max_bytes": size})
    assert "policy.max_bytes" in refusal(folder)


def test_a_file_of_many_gigabytes_is_refused_before_it_is_hashed(folder: Path) -> None:
    with (folder / "model.onnx").open("r+b") as stream:
        stream.truncate(2**40)
    files = json.loads((folder / "bundle.json").read_text())["files"]
    change_card(folder, files=[fact | ({"bytes": 2**40} if "onnx" in fact["file"] else {}) for fact in files])
    assert "more than 1,073,741,824: refused" in refusal(folder)


def test_a_network_of_another_embedding_size_than_the_card_s_is_refused(folder: Path) -> None:
    change_card(folder, embedding_size=5)
    with pytest.raises(FormatError, match=r"gives embeddings of 768 numbers, its card says 5\."):
        open_bundle(folder).runner()


def test_a_keras_model_that_does_not_fit_its_card_is_refused(folder: Path) -> None:
    image = keras.Input((16, 16, 3), dtype="uint8")
    logits = keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image)))
    keras.Model(image, logits).save(folder / "model.keras")
    list_files_again(folder)
    with pytest.raises(FormatError, match=r"model\.keras takes images of \(16, 16\) and gives 2 logits"):
        open_bundle(folder).keras_model()


Change = Callable[[dict[str, bytes]], None]


def rewrite(path: Path, change: Change, method: int = zipfile.ZIP_STORED) -> None:
    """Change the members of a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def with_layer(name: str, module: str | None = "keras.layers") -> Change:
    def change(members: dict[str, bytes]) -> None:
        config = json.loads(members["config.json"])
        config["config"]["layers"].insert(
            2, {"module": module, "class_name": name, "config": {"name": "odd"}, "registered_name": None}
        )
        members["config.json"] = json.dumps(config).encode()

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_layer("TFSMLayer"), "'keras.layers.TFSMLayer'"),
        (with_layer("StringLookup"), "'keras.layers.StringLookup'"),
        (with_layer("TorchModuleWrapper"), "'keras.layers.TorchModuleWrapper'"),
        (with_layer("Popen", "subprocess"), "'subprocess.Popen'"),
        (with_layer("function", "builtins"), "'builtins.function'"),
        (with_layer("get_file", "keras.utils"), "'keras.utils.get_file'"),
        (with_layer("__lambda__", None), "'__lambda__'"),
        (with_layer("Dense", None), "'Dense'"),
        (lambda members: members.update({"assets/x": b""}), "and nothing else"),
        (lambda members: members.pop("model.weights.h5"), "does not hold"),
        (lambda members: members.update({"config.json": b"[" * 10_000}), "cannot be read"),
        (lambda members: members.update({"config.json": b"[" + b"[]," * 2_000_000 + b"[]]"}), "values"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_keras_model_with_anything_but_known_layers_is_refused(change: Change, reason: str, folder: Path) -> None:
    rewrite(folder / "model.keras", change)
    list_files_again(folder)
    assert reason in refusal(folder)


def test_a_keras_file_that_is_compressed_or_no_archive_is_refused(folder: Path) -> None:
    rewrite(folder / "model.keras", lambda members: None, zipfile.ZIP_DEFLATED)
    list_files_again(folder)
    assert "is compressed" in refusal(folder)
    (folder / "model.keras").write_bytes(b"PK\x03\x04 no archive")
    list_files_again(folder)
    assert "cannot be read" in refusal(folder)


def weights_of(fill: Callable[[h5py.Group], None], scratch: Path) -> Change:
    """Replace the first weights of the file by others."""

    def change(members: dict[str, bytes]) -> None:
        scratch.write_bytes(members["model.weights.h5"])
        with h5py.File(scratch, "r+") as file:
            names: list[str] = []
            file.visit(names.append)
            variables = file[next(name for name in names if name.endswith("vars") and "0" in file[name])]
            del variables["0"]
            fill(variables)
        members["model.weights.h5"] = scratch.read_bytes()

    return change


def fill_external(variables: h5py.Group) -> None:
    variables.create_dataset("0", (768, 3), np.float32, external=[("/etc/passwd", 0, 768 * 3 * 4)])


def fill_link(variables: h5py.Group) -> None:
    variables["0"] = h5py.ExternalLink("/tmp/other.h5", "/weights")


def fill_bomb(variables: h5py.Group) -> None:
    variables.create_dataset("0", (2**40,), np.float32, chunks=(2**20,), fillvalue=0.5)


def fill_circle(variables: h5py.Group) -> None:
    variables["0"] = variables.parent


@pytest.mark.parametrize(
    ("fill", "reason"),
    [
        (fill_external, "'0' lie in another file"),
        (fill_link, "'0' are a link"),
        (fill_bomb, "4,398,046,.* bytes in a file of"),
        (fill_circle, "more than 100,000 weights"),
    ],
    ids=["external", "link", "bomb", "circle"],
)
def test_weights_that_do_not_lie_in_the_file_are_not_read(
    fill: Callable[[h5py.Group], None], reason: str, folder: Path
) -> None:
    rewrite(folder / "model.keras", weights_of(fill, folder.parent / "weights.h5"))
    list_files_again(folder)
    with pytest.raises(FormatError, match=reason):
        open_bundle(folder).keras_model()


def with_network(folder: Path, *layers: Any) -> None:
    """Put another network in, and its own number of parameters on the card."""
    image = keras.Input((16, 16, 3), dtype="uint8")
    found = keras.layers.Rescaling(1 / 255)(image)
    for layer in layers:
        found = layer(found)
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(found)))
    model.save(folder / "model.keras")
    change_card(folder, num_parameters=model.count_params())
    list_files_again(folder)


def set_in_layer(kind: str, **values: Any) -> Change:
    """Change the configuration of the first layer of a class, and nothing of its weights."""

    def change(members: dict[str, bytes]) -> None:
        config = json.loads(members["config.json"])
        layer = next(each for each in config["config"]["layers"] if each["class_name"] == kind)
        layer["config"] |= values
        members["config.json"] = json.dumps(config).encode()

    return change


@pytest.mark.parametrize(
    ("layer", "values"),
    [
        (lambda: keras.layers.Dense(4), {"units": 10**9}),
        (lambda: keras.layers.Conv2D(4, 3), {"filters": 10**9}),
        (lambda: keras.layers.DepthwiseConv2D(3), {"depth_multiplier": 10**9}),
        (lambda: keras.layers.SeparableConv2D(4, 3), {"depth_multiplier": 10**8}),
        (lambda: keras.layers.Dense(4), {"units": 5000, "kernel_initializer": "orthogonal"}),
    ],
    ids=["dense", "filters", "depthwise", "separable", "slow to draw"],
)
def test_a_layer_of_more_weights_than_the_file_holds_is_refused_before_it_takes_memory(
    layer: Callable[[], Any], values: dict[str, Any], folder: Path
) -> None:
    built = layer()
    with_network(folder, built)
    rewrite(folder / "model.keras", set_in_layer(type(built).__name__, **values))
    list_files_again(folder)
    opened, before = open_bundle(folder), peak_bytes()
    with pytest.raises(FormatError, match=r"model\.keras is refused: its layers ask for more weights than it holds"):
        opened.keras_model()
    assert peak_bytes() - before < 256 * 2**20


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        (lambda: [keras.layers.UpSampling2D(3000)], "more than 4 GiB for an image"),
        (lambda: [keras.layers.ZeroPadding2D(20_000)], "more than 4 GiB for an image"),
        (
            lambda: [keras.layers.UpSampling2D(400), keras.layers.AveragePooling2D(2000, 4, "same")],
            "more than 1e.12 multiplications",
        ),
    ],
    ids=["enlarged", "padded", "slow"],
)
def test_a_keras_model_whose_run_would_take_all_memory_or_days_is_refused(
    layers: Callable[[], list[Any]], reason: str, folder: Path
) -> None:
    with_network(folder, *layers())
    opened, before = open_bundle(folder), peak_bytes()
    with pytest.raises(FormatError, match=reason):
        opened.keras_model()
    assert peak_bytes() - before < 256 * 2**20


def test_a_keras_model_of_other_parameters_than_its_card_says_is_refused(folder: Path) -> None:
    change_card(folder, num_parameters=5)
    with pytest.raises(FormatError, match=r"has 2,307 parameters, its card says 5"):
        open_bundle(folder).keras_model()


def test_the_weights_of_the_file_are_those_of_the_network(folder: Path) -> None:
    with_network(folder, keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(), keras.layers.Dropout(0.3))
    loaded, plain = open_bundle(folder).keras_model(), keras.models.load_model(folder / "model.keras", compile=False)
    for one, other in zip(loaded.weights, plain.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.parametrize(
    "words",
    [
        ["score", "new", "--model", "tiny@1"],
        ["evaluate", "tiny@1"],
        ["explain", "tiny@1", "new/a.png"],
        ["promote", "tiny@1"],
    ],
    ids=lambda words: words[0],
)
def test_every_command_refuses_it_with_exit_status_2(words: list[str], folder: Path) -> None:
    version = folder.parent / "workspace/models/tiny/1"
    version.parent.mkdir(parents=True)
    folder.rename(version)
    (version / "model.onnx").unlink()
    (version / "model.onnx").symlink_to("/dev/zero")
    (folder.parent / "new").mkdir()
    (folder.parent / "new" / "a.png").write_bytes(b"")
    done = darkroom(*words, folder=folder.parent)
    assert done.returncode == 2
    assert "model.onnx is a link that leads out of" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
