"""The Python interface: light to import, the same as the commands, and to the bit what they write."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer.main
from PIL import Image

import darkroom
from darkroom import _options
from darkroom.flows.commands import app
from tests.bundles import tiny_bundle
from tests.datasets import photograph, write_images

ROOT = Path(__file__).parents[1]
WORK = (
    "run",
    "retrain",
    "history",
    "ingest",
    "inspect",
    "train",
    "compare",
    "evaluate",
    "versus",
    "promote",
    "rollback",
    "explain",
    "score",
    "export",
)
OF_THE_TERMINAL = {"as_json", "verbose", "runner", "address", "plan", "files", "out_folder"}
HEAVY = ("tensorflow", "keras", "prefect", "pandas", "onnxruntime", "pyarrow", "numpy", "PIL", "pydantic")
FORMATS = {
    "turned.jpg": "JPEG", "big.jpg": "JPEG", "grey.png": "PNG", "clear.png": "PNG", "palette.gif": "GIF",
    "lossless.webp": "WEBP", "turned.tif": "TIFF",
}  # fmt: skip


def in_python(script: str, cwd: Path, **environment: str) -> str:
    """What a script prints in a fresh interpreter."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT", "DARKROOM"))}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=cwd,
        env=clean | {"PYTHONPATH": str(ROOT / "src")} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of several formats, one of them cut short."""
    place = tmp_path_factory.mktemp("new")
    for number, (name, kind) in enumerate(FORMATS.items()):
        image = Image.fromarray(photograph("blue", number, 300 if name == "big.jpg" else 40, 60))
        turned = Image.Exif()
        turned[0x0112] = 6
        how: dict[str, Any] = {"exif": turned} if name.startswith("turned") else {}
        if name == "clear.png":
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        if name in ("grey.png", "palette.gif"):
            image = image.convert("L" if name == "grey.png" else "P")
        if name == "lossless.webp":
            how["lossless"] = True
        image.save(place / name, kind, **how)
    (place / "cut.jpg").write_bytes((place / "big.jpg").read_bytes()[:2000])
    return place


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny", ["a", "b", "c"], (24, 32))


@pytest.fixture(scope="module")
def model(bundle: Path) -> darkroom.Model:
    return darkroom.load_model(bundle)


@pytest.fixture(scope="module")
def scored(folder: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The table that the command's steps write of that folder."""
    out = tmp_path_factory.mktemp("scored") / "table"
    result = darkroom.score(folder, bundle, out, rows_per_part=3, embeddings=True)
    assert (result.num_files, result.num_parts) == (8, 3)
    return pd.concat([pd.read_parquet(part) for part in sorted(out.glob("part-*.parquet"))], ignore_index=True)


def test_the_import_takes_no_time_and_loads_no_library(tmp_path: Path) -> None:
    script = (
        "import sys, time; started = time.perf_counter(); import darkroom; took = time.perf_counter() - started;"
        f"print(took); print([name for name in {HEAVY} if name in sys.modules])"
    )
    took, loaded = in_python(script, tmp_path).splitlines()
    assert loaded == "[]"
    assert float(took) < 0.5  # a few milliseconds, but for what else this machine does


def test_every_name_is_there_and_a_type_checker_sees_the_same_names() -> None:
    tree = ast.parse((ROOT / "src/darkroom/__init__.py").read_text(encoding="utf-8"))
    (seen,) = [node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    names = [alias.name for node in seen.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(names) == sorted(darkroom.__all__)
    for name in darkroom.__all__:
        assert inspect.getdoc(getattr(darkroom, name)), name
    assert set(darkroom.__all__) <= set(dir(darkroom))
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        _ = darkroom.scores


@pytest.mark.parametrize("name", WORK)
def test_a_function_has_the_names_arguments_and_defaults_of_its_command(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    wanted = {each.name.removeprefix("no_"): each.default for each in shown if each.name != "help"}
    own = {key: value.default for key, value in inspect.signature(getattr(darkroom, name)).parameters.items()}
    annotation = inspect.get_annotations(getattr(darkroom, name)).get("options", "Unpack[dict]")
    options = own.pop("options", None) and getattr(_options, annotation.removeprefix("Unpack[").removesuffix("]"))
    settings = set(options.__annotations__) if options else set()
    assert settings | set(own) == set(wanted) - OF_THE_TERMINAL
    for key, default in own.items():
        if default is not inspect.Parameter.empty:
            assert default == wanted[key], key


def test_predict_gives_to_the_bit_what_score_writes_in_the_order_given(
    model: darkroom.Model, folder: Path, scored: pd.DataFrame
) -> None:
    assert sorted(scored.status.unique()) == ["ok", "quarantined"]
    assert dict(zip(scored.path, scored.reason, strict=True))["cut.jpg"] == "truncated"
    assert scored.label.nunique() > 1
    files = [folder / name for name in reversed(scored.path)]
    wanted = scored[::-1].reset_index(drop=True)
    rows = model.predict(files, embeddings=True)
    pd.testing.assert_frame_equal(rows.drop(columns="path"), wanted.drop(columns="path"), check_exact=True)
    assert rows.path.tolist() == [str(file) for file in files]
    by_bytes = model.predict([file.read_bytes() for file in files])
    pd.testing.assert_frame_equal(
        by_bytes.drop(columns="path"), wanted.drop(columns=["path", "embedding"]), check_exact=True
    )
    assert by_bytes.path.isna().all()


def test_a_sequence_of_files_is_scored_like_their_folder(
    bundle: Path, folder: Path, scored: pd.DataFrame, tmp_path: Path
) -> None:
    result = darkroom.score([folder / "grey.png", str(folder / "cut.jpg")], bundle, tmp_path / "table")
    assert (result.folder, result.num_files, result.listed) == (str(folder), 2, True)
    wanted = scored[scored.path.isin(["cut.jpg", "grey.png"])].drop(columns="embedding").reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table"), wanted, check_exact=True)
    again = darkroom.score([folder / "grey.png", folder / "cut.jpg"], bundle, tmp_path / "table", format="csv")
    assert (again.rows_reused, again.exported) == (2, str(tmp_path / "table.csv"))
    assert pd.read_csv(tmp_path / "table.csv").path.tolist() == ["cut.jpg", "grey.png"]
    with pytest.raises(darkroom.InputError, match="Nothing to score"):
        darkroom.score([], bundle, tmp_path / "table")
    with pytest.raises(darkroom.InputError, match=r"2 files that are not there: 'a\.jpg' and 'b\.jpg'"):
        darkroom.score(["a.jpg", "b.jpg"], bundle, tmp_path / "table")


def test_predict_gives_as_many_classes_as_asked_for(model: darkroom.Model, folder: Path) -> None:
    (usual,) = model.predict([folder / "grey.png"]).top_k
    (one,) = model.predict([folder / "grey.png"], top_k=1).top_k
    (every,) = model.predict([folder / "grey.png"], top_k="all").top_k
    assert (list(one), list(every)) == (list(usual[:1]), list(usual))
    with pytest.raises(darkroom.InputError, match="at least 1, or all, not 0"):
        model.predict([folder / "grey.png"], top_k=0)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "big.jpg"])
def test_pixels_that_somebody_else_decoded_are_scored_like_the_file(
    model: darkroom.Model, folder: Path, scored: pd.DataFrame, name: str
) -> None:
    rows = model.predict([Image.open(folder / name)])
    same = ["status", "label", "confidence", "width", "height"]
    assert rows[same].to_numpy().tolist() == scored[scored.path == name][same].to_numpy().tolist()
    assert rows.sha256.isna().all()
    assert rows.path.isna().all()


def test_arrays_are_grey_rgb_or_rgba_and_resized_by_the_policy(model: darkroom.Model, folder: Path) -> None:
    policy = model.decode_policy
    for name, mode in (("grey.png", "L"), ("clear.png", "RGBA"), ("turned.jpg", "RGB")):
        image = Image.open(folder / name)
        assert image.mode == mode
        plain = Image.fromarray(np.asarray(image))
        buffer = BytesIO()
        plain.save(buffer, "PNG")
        wanted = darkroom.decode(buffer.getvalue(), policy)
        assert np.array_equal(darkroom.decode(np.asarray(image), policy), wanted)
    pixels = darkroom.decode(folder / "big.jpg", policy)
    assert pixels.shape == (24, 32, 3)
    assert np.array_equal(darkroom.decode(pixels, policy), pixels)
    with (folder / "big.jpg").open("rb") as file:
        assert np.array_equal(darkroom.decode(file, policy), pixels)
    together = model.predict(np.stack([pixels, pixels]))
    assert together.confidence[0] == together.confidence[1]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((8, 8, 3)), "[Mm]ultiply by 255 and convert to uint8"),
        (np.zeros((8, 8, 3), np.float32), "[Mm]ultiply by 255"),
        (np.zeros((8, 8, 3), np.int64), "Convert it to uint8"),
        (np.zeros((8, 8, 5), np.uint8), r"\(8, 8, 5\)"),
        (np.zeros((0, 8, 3), np.uint8), r"\(0, 8, 3\)"),
        (7, "int"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_image_is_refused_by_its_place_in_the_list(model: darkroom.Model, image: Any, said: str) -> None:
    with pytest.raises(darkroom.InputError, match=f"Image 1 .*{said}"):
        model.predict([np.zeros((8, 8, 3), np.uint8), image])


@pytest.mark.parametrize(
    "image", ["a.jpg", Path("a.jpg"), b"bytes", Image.new("RGB", (8, 8)), np.zeros((8, 8, 3), "B")]
)
def test_a_single_image_is_no_list(model: darkroom.Model, image: Any) -> None:
    with pytest.raises(darkroom.InputError, match=r"\[image\]"):
        model.predict(image)


def test_a_file_that_is_missing_or_broken_is_a_row_for_predict_and_an_error_elsewhere(
    model: darkroom.Model, folder: Path, tmp_path: Path
) -> None:
    rows = model.predict([tmp_path / "none.jpg", tmp_path, b"", folder / "cut.jpg"])
    assert rows.reason.tolist() == ["unreadable", "unreadable", "empty", "truncated"]
    with pytest.raises(darkroom.ImageError, match="truncated"):
        darkroom.decode(folder / "cut.jpg", model.decode_policy)
    with pytest.raises(darkroom.InputError, match=r"Image 1 \(.*cut\.jpg\).*truncated"):
        model.embed([folder / "grey.png", folder / "cut.jpg"])


def test_embeddings_are_those_of_the_table(model: darkroom.Model, folder: Path, scored: pd.DataFrame) -> None:
    usable = scored[scored.status == "ok"]
    vectors = model.embed([folder / name for name in usable.path])
    assert vectors.dtype == np.float32
    assert vectors.shape == (7, 24 * 32 * 3)
    assert np.array_equal(vectors, np.stack(usable.embedding.to_list()))
    assert model.embed([]).shape == (0, 24 * 32 * 3)
    assert len(model.predict([])) == 0
    assert list(model.predict([]).columns) == [name for name in scored.columns if name != "embedding"]


def test_the_keras_model_gives_the_probabilities_of_the_rows(model: darkroom.Model, folder: Path) -> None:
    files = [folder / name for name in FORMATS]
    pixels = np.stack([darkroom.decode(file, model.decode_policy) for file in files])
    given = model.keras().predict(pixels, verbose=0)
    said = model.predict(files, precision="fp32").top_k
    for found, top in zip(given, said, strict=True):
        wanted = {each["label"]: each["probability"] for each in top}
        assert np.abs(found - [wanted[label] for label in model.labels]).max() < 1e-4


def test_unknown_and_wrong_settings_are_refused_by_their_python_names(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"train\(\) got an unexpected keyword argument 'epoch'"):
        darkroom.train("photos", epoch=3, workspace=tmp_path)  # type: ignore[call-arg]
    with pytest.raises(darkroom.InputError, match=r"^batch_size takes a whole number from 1 to 8,192, not 0\.$"):
        darkroom.train("photos", batch_size=0, workspace=tmp_path)
    with pytest.raises(darkroom.InputError, match="no data set"):
        darkroom.train("photos", workspace=tmp_path)
    with pytest.raises(darkroom.InputError, match="no model"):
        darkroom.load_model("photos", tmp_path)


@pytest.fixture(scope="module")
def cell(folder: Path, bundle: Path) -> str:
    """What somebody types into a notebook."""
    return (
        f"table = darkroom.score({str(folder)!r}, model={str(bundle)!r}, out='scored')\n"
        f"rows = darkroom.load_model({str(bundle)!r}).predict([{str(folder / 'grey.png')!r}])\n"
        "await asyncio.sleep(0)\n"
        "assert table.num_files == 8 and rows.status[0] == 'ok'\n"
    )


def test_it_works_where_an_event_loop_runs_already(cell: str, tmp_path: Path) -> None:
    """As IPython runs a cell: compiled with top-level await, as a coroutine of the kernel's loop."""
    script = f"""
import ast, asyncio, sys, threading
import darkroom

async def kernel():
    code = compile({cell!r}, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names = {{"darkroom": darkroom, "asyncio": asyncio}}
    await eval(code, names)

asyncio.run(kernel())
assert "prefect" not in sys.modules
print(threading.active_count())
"""
    assert in_python(script, tmp_path).strip() == "1"
    assert {path.name for path in tmp_path.iterdir()} >= {"scored"}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What a script prints that calls every function that works, one after the other."""
    place = tmp_path_factory.mktemp("everything")
    images = write_images(place / "images")
    (place / "answers.csv").write_text("path,label\ntest/blue/057.jpg,Azure\n")
    yield in_python(
        f"""
import sys
import darkroom
from darkroom.flows.results import *

source = {str(images)!r}
settings = dict(image_size=(32, 32), architecture="cifar4", epochs=1, batch_size=12)
looked = darkroom.inspect(source, max_judged=0, image_size=32)
whole = darkroom.run(source, name="tiny", max_judged=0, **settings)
again = darkroom.train("tiny", architecture="cifar4", epochs=1, batch_size=12)
other = darkroom.train("tiny", architecture="cifar4", epochs=2, batch_size=12)
best = darkroom.compare(source, {{"learning_rate": [0.001, 0.002]}}, name="tiny", max_judged=0, **settings)
beside = darkroom.versus(whole.train.bundle, "answers.csv", means={{"Azure": "blue"}})
darkroom.promote(other.bundle, why="to try", unevaluated=True)
back = darkroom.rollback("tiny-cifar4")
csv = darkroom.export(whole.score.out, "scored.csv")
sorted_images = darkroom.export(whole.score.out, "sorted", link=True)
shown = darkroom.explain(whole.train.bundle, [source + "/test/blue/058.png"], max_searched=0, out="shown")
assert "prefect" not in sys.modules
print(looked.num_ok, whole.ingest.num_ok, whole.score.num_files)
print(again.reused, other.reused, again.bundle == whole.train.bundle)
print(len(best.trials), best.bundle.startswith("tiny-cifar4@"))
assert (csv.num_rows, sorted_images.num_rows) == (whole.score.num_files,) * 2
print(beside.num_unanswered, len(shown.pictures) > 0, back.replaced == other.bundle.partition("@")[2])
print(darkroom.load_dataset("tiny").version == whole.ingest.dataset.partition("@")[2])
""",
        place,
        DARKROOM_WORKSPACE=str(place / "named"),
        DARKROOM_RUNNER="dask",
    )
    assert not (place / "workspace").exists()


def test_every_function_works_without_prefect(everything: str) -> None:
    looked, trained, compared, shown, loaded = everything.splitlines()[-5:]
    assert looked == "69 69 18"
    assert trained == "True False True"
    assert compared == "2 True"
    assert shown.endswith("True True")
    assert loaded == "True"
