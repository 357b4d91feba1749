"""A model for another runtime: it answers as the bundle does, or nothing is written."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.errors import InputError, SettingError, WorkError
from darkroom.data.images.decode import decode
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.models.bundle import calibrated
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.exporting import forms, saved_model
from darkroom.models.exporting.card import EXPORT_CARD, read_export
from darkroom.models.exporting.export import ModelExportRequest, export_model, find_export
from darkroom.models.exporting.forms import FORMS, FormName
from darkroom.models.exporting.tensor_decoding import tensor_decoder
from darkroom.models.measures.calibration import Calibration, Curve
from darkroom.models.multi_label.calibration import LabelCalibration
from darkroom.models.onnx.inference import split_logits
from tests.bundles import tiny_bundle

FILES = {
    "savedmodel": {"1/saved_model.pb", "1/variables/variables.index"},
    "tflite": {"model.tflite"},
    "openvino": {"model.xml", "model.bin"},
    "onnx": {"model.onnx"},
    "keras": {"model.keras"},
}
# With a step, and a level part: what a coarse calibration gets wrong.
CURVES = (
    Curve(x=(0.0, 0.3, 0.6, 1.0), y=(0.0, 0.2, 0.7, 1.0)),
    Curve(x=(0.1, 0.4, 0.5, 0.9), y=(0.05, 0.3, 0.7, 0.8)),
    Curve(x=(0.5,), y=(0.25,)),
)


def installed(form: FormName) -> FormName:
    """Skips where the form's package is missing; `make test` installs all of them."""
    package = FORMS[form].package
    if package and find_spec(package[0]) is None:
        pytest.skip(f"{package[0]} is not installed")
    return form


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle", ["amber", "blue", "green"], (32, 32)))


@pytest.fixture(scope="module")
def photo(images: Path) -> Path:
    return sorted((images / "test/amber").iterdir())[0]


@pytest.mark.parametrize("form", get_args(FormName))
def test_it_answers_as_the_bundle_and_its_readme_is_a_program_that_says_so(
    form: FormName,
    bundle: Bundle,
    dataset: Dataset,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    card = export_model(ModelExportRequest(bundle, installed(form), out, dataset))
    logits, _ = split_logits(dataset, "validation", bundle.runner())
    images = np.concatenate([pixels for pixels, _ in _batches(dataset)])
    wanted = bundle.card.calibration.apply(logits)
    assert np.abs(FORMS[form].opened(out)(images) - wanted).max() < 1e-3
    assert (card.model, card.form, card.checked_on) == (bundle.reference, form, dataset.reference)
    assert (card.num_checked, card.num_other_answers) == (15, 0)
    assert card.max_difference < 1e-3
    files = {fact.file for fact in card.files}
    assert files >= {"labels.txt", "README.md", *FILES[form]}
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == files | {EXPORT_CARD}
    assert (out / "labels.txt").read_text() == "amber\nblue\ngreen\n"
    text = (out / "README.md").read_text()
    assert f"15 validation images of `{dataset.reference}`" in text
    assert f"Below a confidence of {bundle.card.threshold:.4g}" in text
    program, *for_files = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(for_files) == (form == "savedmodel") == (card.max_difference_of_files is not None)
    if form == "tflite" and find_spec("ai_edge_litert") is None:
        program = program.replace("ai_edge_litert.interpreter", "tensorflow.lite")
    Image.open(photo).save(out / "photo.jpg", quality=100, subsampling=0)
    monkeypatch.chdir(out)
    names: dict[str, Any] = {}
    exec(program, names)
    exec("".join(for_files), names)
    chances = dict(re.findall(r"(\w+): ([\d.]+)", capsys.readouterr().out))
    pixels = decode((out / "photo.jpg").read_bytes(), bundle.card.policy)[None]
    wanted = bundle.card.calibration.apply(bundle.runner()(pixels))[0]
    for place, label in enumerate(bundle.card.labels):  # pixels of other decoders differ by rounding
        assert float(chances[label]) == pytest.approx(wanted[place], abs=0.02)
        assert names["probabilities"][place] == pytest.approx(wanted[place], abs=0.02)


def _batches(dataset: Dataset) -> Any:
    from darkroom.models.onnx.inference import stored_batches

    return stored_batches(dataset.records("validation"), 32, dataset.labels)


@pytest.mark.parametrize("form", get_args(FormName))
def test_a_calibration_by_curves_is_inside_too(form: FormName, tiny: Bundle, tmp_path: Path) -> None:
    calibration = Calibration(method="isotonic", curves=CURVES)
    curved = replace(tiny, card=tiny.card.model_copy(update={"calibration": calibration}))
    card = export_model(ModelExportRequest(curved, installed(form), tmp_path / "out"))
    images = np.random.default_rng(5).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    wanted = calibration.apply(tiny.runner()(images))
    assert np.abs(FORMS[form].opened(tmp_path / "out")(images) - wanted).max() < 1e-4
    assert np.abs(Calibration().apply(tiny.runner()(images)) - wanted).max() > 0.1
    assert (card.checked_on, card.num_checked) == (None, 64)
    assert "64 generated images" in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize("form", get_args(FormName))
def test_several_labels_keep_their_own_probabilities_and_thresholds(
    form: FormName, tiny: Bundle, tmp_path: Path
) -> None:
    calibration = LabelCalibration(scales=(1.5, 0.5, 1.0), offsets=(-0.5, 0.0, 2.0))
    changes = {"task": "multi-label", "thresholds": (0.4, 0.5, 0.75), "calibration": calibration}
    several = replace(tiny, card=tiny.card.model_copy(update=changes))
    export_model(ModelExportRequest(several, installed(form), tmp_path / "out"))
    images = np.random.default_rng(6).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    wanted = calibration.apply(tiny.runner()(images))
    assert np.abs(FORMS[form].opened(tmp_path / "out")(images) - wanted).max() < 1e-4
    assert np.abs(wanted.sum(axis=1) - 1).max() > 0.1
    assert "amber 0.4, blue 0.5, green 0.75" in (tmp_path / "out/README.md").read_text()


def test_a_saved_model_has_the_signature_that_tensorflow_serving_asks_for(tiny: Bundle, tmp_path: Path) -> None:
    import tensorflow as tf

    export_model(ModelExportRequest(tiny, "savedmodel", tmp_path))
    signatures = tf.saved_model.load(str(tmp_path / "1")).signatures
    wanted = {
        "serving_default": {"image": (tf.uint8, [None, 32, 32, 3])},
        "files": {"image_bytes": (tf.string, [None])},
    }
    assert set(signatures) == set(wanted)
    for name, signature in signatures.items():
        ((), inputs), outputs = signature.structured_input_signature, signature.structured_outputs
        assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in inputs.items()} == wanted[name]
        assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in outputs.items()} == {
            "probabilities": (tf.float32, [None, 3])
        }


@pytest.mark.parametrize("form", ["tflite", "keras"])
def test_one_that_answers_otherwise_is_an_error_and_nothing_is_written(
    form: FormName, tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = calibrated.with_probabilities
    monkeypatch.setattr(
        forms, "with_probabilities", lambda model, _, dtype: real(model, Calibration(temperature=9), dtype)
    )
    with pytest.raises(WorkError, match=r"differ from the model's own by 0\.\d+ on 64 generated images.*nothing was"):
        export_model(ModelExportRequest(tiny, form, tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_one_that_decodes_files_otherwise_is_an_error(
    tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = DecodePolicy(image_size=(32, 32), resize="pad", padding=(255, 0, 0), interpolation="nearest")
    monkeypatch.setattr(saved_model, "tensor_decoder", lambda policy: upside_down(tensor_decoder(other)))
    with pytest.raises(
        WorkError, match=r"other probabilities for files than the model, by up to 0\.\d+, more than 0\.1"
    ):
        export_model(ModelExportRequest(tiny, "savedmodel", tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def upside_down(decoder: Any) -> Any:
    return lambda data: decoder(data)[::-1]


def test_one_that_gives_no_number_is_an_error(tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(FORMS["onnx"], opened=lambda folder: lambda images: np.full((len(images), 3), np.nan, np.float32))
    monkeypatch.setitem(FORMS, "onnx", broken)  # type: ignore[arg-type]
    with pytest.raises(WorkError, match="differ from the model's own by nan"):
        export_model(ModelExportRequest(tiny, "onnx", tmp_path / "out"))


def test_one_that_is_up_to_date_is_kept_a_damaged_one_and_another_form_are_written_again(
    tiny: Bundle, tmp_path: Path
) -> None:
    request = ModelExportRequest(tiny, "onnx", tmp_path / "out")
    assert find_export(request) is None
    made = export_model(request)
    before = {path: path.stat().st_mtime_ns for path in request.out.iterdir()}
    assert export_model(request) == find_export(request) == made
    assert {path: path.stat().st_mtime_ns for path in request.out.iterdir()} == before
    with (request.out / "model.onnx").open("ab") as stream:
        stream.write(b"0")
    assert find_export(request) is None
    assert export_model(request) == made
    other = ModelExportRequest(tiny, "keras", tmp_path / "out")
    assert find_export(other) is None
    assert export_model(other).form == "keras"
    assert not (request.out / "model.onnx").exists()
    found = read_export(request.out)
    assert found is not None
    assert found.form == "keras"


def test_a_folder_of_other_files_a_missing_package_and_images_of_another_size_are_refused(
    tiny: Bundle, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"holds other files, such as thesis\.tex"):
        ModelExportRequest(tiny, "onnx", tmp_path)
    with pytest.raises(InputError, match="is a file"):
        ModelExportRequest(tiny, "onnx", tmp_path / "thesis.tex")
    with pytest.raises(SettingError, match=r"no form 'coreml' to export to\. Use savedmodel, tflite"):
        ModelExportRequest(tiny, "coreml", tmp_path / "out")  # type: ignore[arg-type]
    small = open_bundle(tiny_bundle(tmp_path / "small", ["amber", "blue", "green"], (8, 8)))
    with pytest.raises(SettingError, match=r"are 32 x 32, tiny@0+ takes 8 x 8"):
        ModelExportRequest(small, "onnx", tmp_path / "out", dataset)
    monkeypatch.setattr(forms, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"An OpenVINO model needs the package openvino.*'darkroom-flows\[openvino\]'"):
        ModelExportRequest(tiny, "openvino", tmp_path / "out")
