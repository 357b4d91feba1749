"""A bundle is opened only as its card says it is, and nothing in it can run code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from darkroom.data.errors import FormatError, SettingError
from darkroom.data.files.hashing import file_sha256
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.onnx.runtime import export_onnx


@pytest.fixture
def folder(bundle: Bundle, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(bundle.folder, tmp_path / "bundle")


def change_card(folder: Path, **values: object) -> None:
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def list_files_again(folder: Path) -> None:
    """What somebody does who sends a bundle of his own making: the card fits its files."""
    names = ("model.keras", "model.onnx", "model.int8.onnx")
    facts = [
        {"file": name, "bytes": (folder / name).stat().st_size, "sha256": file_sha256(folder / name)} for name in names
    ]
    change_card(folder, files=facts)


def test_a_bundle_can_be_moved_and_opened_elsewhere(bundle, folder):
    assert open_bundle(folder).card == bundle.card


def test_a_file_that_was_changed_by_one_bit_is_refused(folder):
    for name in ("model.onnx", "model.keras", "model.int8.onnx"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(FormatError, match=f"{name} is not the file.*changed.*train again"):
            open_bundle(folder)
        (folder / name).write_bytes(content)
    open_bundle(folder)


def test_a_missing_and_a_cut_file_are_refused(folder):
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content[:-10])
    with pytest.raises(FormatError, match=f"has {len(content) - 10} bytes, not {len(content)}"):
        open_bundle(folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(FormatError, match=r"model\.onnx is missing"):
        open_bundle(folder)


def test_a_folder_without_a_card_is_no_bundle(folder):
    (folder / "bundle.json").unlink()
    with pytest.raises(FormatError, match=r"has no bundle\.json"):
        open_bundle(folder)


def test_an_unknown_schema_version_is_refused_with_both_versions(folder):
    change_card(folder, schema_version=7)
    with pytest.raises(FormatError, match="schema version 7, this Darkroom reads 2"):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/hostname", "a/../../model.onnx"])
def test_a_card_that_names_a_file_outside_its_folder_is_refused(folder, name):
    keras_file, onnx_file, int8_file = json.loads((folder / "bundle.json").read_text())["files"]
    (folder.parent / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    change_card(folder, files=[keras_file, onnx_file | {"file": name}, int8_file])
    with pytest.raises(FormatError, match=f"lists '{name}', which is outside the folder"):
        open_bundle(folder)


@pytest.mark.parametrize("num_listed", [0, 2])
def test_a_card_that_does_not_answer_for_every_network_is_refused(folder, num_listed):
    """Otherwise a network could be exchanged without a trace."""
    change_card(folder, files=json.loads((folder / "bundle.json").read_text())["files"][:num_listed])
    with pytest.raises(FormatError, match=r"does not list model\.keras and model\.onnx and model\.int8\.onnx"):
        open_bundle(folder)


def test_an_int8_network_that_the_card_does_not_know_is_never_run(folder):
    """Put beside the others by somebody: there is no figure for it, and no hash."""
    files = json.loads((folder / "bundle.json").read_text())["files"][:2]
    change_card(folder, files=files, int8={"gate": None, "refused": "it was never made"})
    opened = open_bundle(folder)
    assert opened.engine("auto") == opened.engine("fp32") == "fp32"
    with pytest.raises(SettingError, match=r"has no int8 network: it was never made\. Use --precision fp32, or auto"):
        opened.engine("int8")


def test_a_bundle_from_before_int8_is_read_and_scores_with_fp32(folder):
    card = json.loads((folder / "bundle.json").read_text())
    del card["int8"]
    (folder / "bundle.json").write_text(json.dumps(card | {"files": card["files"][:2]}))
    opened = open_bundle(folder)
    assert opened.engine("auto") == "fp32"
    with pytest.raises(SettingError, match="no int8 network: it was trained before int8"):
        opened.engine("int8")


def test_a_card_that_says_int8_passed_without_figures_is_damaged(folder):
    change_card(folder, int8={"gate": None, "refused": None})
    with pytest.raises(FormatError, match=r"damaged at int8: .*has figures"):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [("threshold", 1.5), ("labels", "cat"), ("best_epoch", None), ("calibration", {"method": "isotonic"})],
)
def test_a_damaged_card_is_refused_with_the_field(folder, field, value):
    change_card(folder, **{field: value})
    with pytest.raises(FormatError, match=f"damaged at {field}"):
        open_bundle(folder)


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_no_positive_number_is_refused(folder, temperature):
    change_card(folder, calibration={"temperature": temperature})
    with pytest.raises(FormatError, match=r"damaged at calibration\.temperature"):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("curve", "said"),
    [
        ({"x": [0.5, 0.2], "y": [0.1, 0.2]}, "rise"),
        ({"x": [0.2, 0.5], "y": [0.1, 1.2]}, "rise"),
        ({"x": [0.2], "y": [0.1, 0.2]}, "as many x as y"),
        ({"x": [], "y": []}, "at least 1"),
        ({"x": [0.0, 1.0], "y": [0.1, 0.9]}, "1 calibration curves for 3 labels"),
    ],
)
def test_calibration_curves_that_are_none_are_refused(folder, curve, said):
    change_card(folder, calibration={"method": "isotonic", "curves": [curve]})
    with pytest.raises(FormatError, match=said):
        open_bundle(folder)


def test_a_keras_model_with_a_lambda_layer_is_refused_and_its_code_does_not_run(folder, tmp_path):
    trace = tmp_path / "ran"

    def leave_a_trace(x):
        import pathlib

        pathlib.Path(str(trace)).touch()
        return x

    image = keras.Input((32, 32, 3), dtype="uint8")
    x = keras.layers.Lambda(leave_a_trace, output_shape=(32, 32, 3))(keras.layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    model.save(folder / "model.keras")
    list_files_again(folder)
    model(np.zeros((1, 32, 32, 3), np.uint8))
    trace.unlink()  # the layer does what it is meant to do
    with pytest.raises(FormatError, match=r"model\.keras is refused: it holds 'keras\.layers\.Lambda'"):
        open_bundle(folder).keras_model()
    assert not trace.exists()


def test_a_network_that_does_not_fit_its_card_is_refused_before_it_runs(folder):
    def other(size: int, num_classes: int) -> None:
        image = keras.Input((size, size, 3), dtype="uint8")
        logits = keras.layers.Dense(num_classes)(keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image)))
        export_onnx(keras.Model(image, logits), folder / "model.onnx")
        list_files_again(folder)

    other(32, 2)
    with pytest.raises(FormatError, match=r"gives 2 logits, its card says \(32, 32\) and 3"):
        open_bundle(folder).runner()
    other(16, 3)
    with pytest.raises(FormatError, match=r"takes images of \(16, 16\)"):
        open_bundle(folder).runner()


def test_the_keras_model_and_the_onnx_export_are_the_same_network(bundle):
    images = np.random.default_rng(5).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(bundle.keras_model()(images, training=False), bundle.runner()(images), atol=1e-4)


def test_the_state_of_the_optimizer_is_not_carried_about(bundle):
    assert (bundle.folder / "model.keras").stat().st_size < 1.2 * 4 * bundle.card.num_parameters
