"""Scoring: the prediction table is what the contract says, to the byte, whatever lies in the folder."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from darkroom.data.errors import CountError, FormatError, InputError, SettingError
from darkroom.data.images.decode import decode, decode_stored
from darkroom.data.stores.table_paths import TablePaths
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.measures.calibration import Calibration
from darkroom.models.scoring import rows as score_rows
from darkroom.models.scoring.parts import open_runner, score_part
from darkroom.models.scoring.summary import ScoreSummary, read_summary, summarize
from tests.datasets import BAD_FILES, NUM_IMAGES
from tests.scoring import plan

NUM_FILES = 3 * sum(NUM_IMAGES.values()) + len(BAD_FILES)


def run(folder: Path, bundle: Bundle, out: Path, rows_per_part: int = 20, **how: Any) -> ScoreSummary:
    """All of a scoring run, as the flow does it."""
    runner, opened = open_runner(bundle.folder)
    planned = plan(folder, opened, out, rows_per_part, **how)
    parts = [score_part(out, index, runner, opened) for index in range(planned.num_parts)]
    assert sum(part.num_rows for part in parts) == planned.num_files
    return summarize(out, parts, "2026-11-21T00:00:00Z", 1.0, None)


def table(out: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(out.glob("part-*.parquet"))])


def part_bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("part-*.parquet"))}


@pytest.fixture(scope="module")
def scored(images, bundle, tmp_path_factory):
    out = tmp_path_factory.mktemp("scored")
    run(images, bundle, out)
    return out


@pytest.fixture
def folder(images, tmp_path):
    """The images of the test part, to be changed."""
    return shutil.copytree(images / "test", tmp_path / "new")


def test_the_columns_are_those_of_the_contract_in_their_order_and_types(scored):
    for path in scored.glob("part-*.parquet"):
        assert [(field.name, str(field.type)) for field in pq.read_schema(path)] == [
            ("path", "string"),
            ("sha256", "string"),
            ("status", "string"),
            ("reason", "string"),
            ("label", "string"),
            ("confidence", "float"),
            ("abstained", "bool"),
            ("top_k", "list<element: struct<label: string, probability: float>>"),
            ("width", "int32"),
            ("height", "int32"),
            ("unfamiliarity", "float"),
            ("unfamiliar", "bool"),
        ]


def test_every_file_is_one_row_sorted_by_path_with_its_own_hash_and_size(scored, images):
    rows = table(scored).to_pylist()
    files = sorted(str(path.relative_to(images)) for path in images.rglob("*") if path.is_file())
    assert [row["path"] for row in rows] == files
    assert len(files) == NUM_FILES
    for row in rows:
        assert row["sha256"] == hashlib.sha256((images / row["path"]).read_bytes()).hexdigest()
        if row["status"] == "ok":
            with Image.open(images / row["path"]) as image:
                assert (row["width"], row["height"]) == image.size


def test_bad_files_are_rows_with_the_reason_of_the_manifest_and_nulls(scored, dataset):
    quarantined = {row["path"]: row for row in table(scored).to_pylist() if row["status"] == "quarantined"}
    manifest = {row["path"]: row["reason"] for row in dataset.manifest("path", "reason").to_pylist() if row["reason"]}
    assert {path: row["reason"] for path, row in quarantined.items()} == BAD_FILES == manifest
    for row in quarantined.values():
        assert [row[key] for key in ("label", "confidence", "abstained", "top_k")] == [None] * 4
    assert (quarantined["test/blue/cut.jpg"]["width"], quarantined["test/blue/cut.jpg"]["height"]) == (200, 200)
    assert all(row["reason"] is None for row in table(scored).to_pylist() if row["status"] == "ok")


def test_confidence_is_the_softmax_of_kerass_logits_over_the_temperature(scored, images, bundle):
    rows = [row for row in table(scored).to_pylist() if row["status"] == "ok"]
    pixels = np.stack([decode((images / row["path"]).read_bytes(), bundle.card.policy) for row in rows])
    logits = np.asarray(bundle.keras_model()(pixels, training=False), np.float64)
    powers = np.exp(logits / bundle.card.calibration.temperature)
    chances = powers / powers.sum(axis=1, keepdims=True)
    for row, expected in zip(rows, chances, strict=True):
        found = {entry["label"]: entry["probability"] for entry in row["top_k"]}
        for label, chance in zip(bundle.card.labels, expected, strict=True):
            assert found[label] == pytest.approx(chance, abs=1e-4)
        ordered = [entry["probability"] for entry in row["top_k"]]
        assert ordered == sorted(ordered, reverse=True)
        assert (row["label"], row["confidence"]) == (row["top_k"][0]["label"], ordered[0])
        assert row["abstained"] == (row["confidence"] < bundle.card.threshold)
    assert {row["abstained"] for row in rows} == {True, False}


def test_top_k_is_the_five_most_likely_of_many_classes(images, tmp_path):
    from darkroom.models.bundle.bundle import open_bundle
    from tests.bundles import tiny_bundle

    labels = [f"class {number}" for number in range(8)]
    many = open_bundle(tiny_bundle(tmp_path / "bundle", labels, (32, 32)))
    run(images / "train" / "blue", many, tmp_path / "out")
    for row in table(tmp_path / "out").to_pylist():
        pixels = decode((images / "train" / "blue" / row["path"]).read_bytes(), many.card.policy)
        logits = np.asarray(many.keras_model()(pixels[None]))[0]
        assert [entry["label"] for entry in row["top_k"]] == [labels[place] for place in np.argsort(-logits)[:5]]


def test_the_summary_adds_up_as_duckdb_counts_the_parts(scored, bundle):
    summary = read_summary(scored)
    parts = f"read_parquet('{scored}/part-*.parquet')"

    def counted(column: str) -> dict[str, int]:
        query = f"select {column}, count(*) from {parts} where {column} is not null group by 1 order by 1"
        return dict(duckdb.sql(query).fetchall())

    assert {count.name: count.num_rows for count in summary.statuses} == counted("status")
    assert {count.name: count.num_rows for count in summary.labels} == counted("label")
    assert {count.name: count.num_rows for count in summary.reasons} == counted("reason")
    assert summary.num_abstained == duckdb.sql(f"select count(*) from {parts} where abstained").fetchall()[0][0]
    assert summary.num_files == sum(counted("status").values()) == NUM_FILES
    assert summary.bundle == bundle.reference
    assert [part.file for part in summary.parts] == [f"part-{index:05d}.parquet" for index in range(4)]


def test_a_second_run_elsewhere_gives_the_same_bytes(scored, images, bundle, tmp_path):
    run(images, bundle, tmp_path / "again")
    assert part_bytes(tmp_path / "again") == part_bytes(scored)


def test_a_rerun_uses_the_parts_again_and_a_changed_file_costs_only_its_own(folder, bundle, tmp_path):
    out = tmp_path / "out"
    assert run(folder, bundle, out, 5).rows_reused == 0
    before = part_bytes(out)
    assert run(folder, bundle, out, 5).rows_reused == 21
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(folder / "green" / "text.jpg")
    summary = run(folder, bundle, out, 5)
    after = part_bytes(out)
    assert summary.rows_reused == 20
    assert [name for name in before if before[name] != after[name]] == ["part-00004.parquet"]
    assert table(out).to_pylist()[-1]["status"] == "ok"


def test_a_part_that_was_damaged_is_made_again(folder, bundle, tmp_path):
    out = tmp_path / "out"
    run(folder, bundle, out, 5)
    before = part_bytes(out)
    (out / "part-00002.parquet").write_bytes(b"half")
    with pytest.raises(FormatError, match="part-00002"):
        read_summary(out)
    assert run(folder, bundle, out, 5).rows_reused == 16
    assert part_bytes(out) == before


def test_parts_of_another_bundle_are_not_used_again_even_under_its_name(folder, bundle, tmp_path):
    """The same name and version can be trained twice, on two machines; the weights then differ by rounding."""
    out = tmp_path / "out"
    run(folder, bundle, out, 5)
    warmer = Calibration(temperature=bundle.card.calibration.temperature * 2)
    card = bundle.card.model_copy(update={"calibration": warmer})
    other = Bundle(bundle.folder, card)
    plan(folder, other, out, 5)
    assert score_part(out, 0, bundle.runner(), other).num_reused == 0


def test_parts_of_a_longer_earlier_table_are_removed(folder, bundle, tmp_path):
    out = tmp_path / "out"
    run(folder, bundle, out, 5)
    assert len(part_bytes(out)) == 5
    run(folder, bundle, out, 50)
    assert list(part_bytes(out)) == ["part-00000.parquet"]
    assert table(out).num_rows == 21


def test_a_table_that_is_being_made_anew_is_not_taken_for_a_whole_one(folder, bundle, tmp_path):
    out = tmp_path / "out"
    run(folder, bundle, out, 5)
    (folder / "new.png").write_bytes(b"")
    plan(folder, bundle, out, 5)
    with pytest.raises(FormatError, match=r"no out\.summary\.json"):
        read_summary(out)


def test_a_missing_row_is_an_error(folder, bundle, tmp_path):
    out = tmp_path / "out"
    run(folder, bundle, out, 50)
    plan(folder, bundle, out, 50)
    pq.write_table(table(out).slice(1), out / "part-00000.parquet")
    with pytest.raises(CountError, match=r"21 files .* were planned and 20 rows written"):
        summarize(out, (), "", 1.0, None)


@pytest.mark.parametrize("name", ["out/part-00000.parquet", "out/part-0.parquet", "out.summary.json"])
def test_a_table_of_another_program_is_refused_and_left_as_it_is(folder, bundle, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / name).write_bytes(b"somebody's work")
    with pytest.raises(InputError, match=f"is taken: Darkroom did not write {name}. Nothing was changed"):
        plan(folder, bundle, tmp_path / "out", 100)
    assert (tmp_path / name).read_bytes() == b"somebody's work"
    assert len(list(tmp_path.glob("out*/*"))) + len(list(tmp_path.glob("out.*"))) == 1


def test_other_files_in_the_output_folder_stay(folder, bundle, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "summary.json").write_text("mine as well")
    run(folder, bundle, out, 5)
    (out / "part-of-mine.parquet").write_bytes(b"mine too")
    run(folder, bundle, out, 50)
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "summary.json").read_text() == "mine as well"
    assert (out / "part-of-mine.parquet").read_bytes() == b"mine too"


def test_arguments_that_cannot_be_right_are_refused_with_a_sentence(folder, bundle, images, dataset, tmp_path):
    with pytest.raises(InputError, match="lies inside the scored folder"):
        plan(folder, bundle, folder / "scores", 5)
    with pytest.raises(SettingError, match="--rows-per-part takes a whole number of at least 1, not 0"):
        plan(folder, bundle, tmp_path / "out", 0)
    with pytest.raises(SettingError, match="--split takes train, validation or test, not 'tset'"):
        plan(folder, bundle, tmp_path / "out", 5, dataset=dataset.folder, split="tset")
    gone = shutil.copytree(images, tmp_path / "images")
    (gone / dataset.paths("test")[0]).unlink()
    num_files = len(dataset.paths("test"))
    with pytest.raises(InputError, match=f"1 of {num_files} files are no longer in"):
        plan(gone, bundle, tmp_path / "out", 5, dataset=dataset.folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no files"):
        plan(tmp_path / "empty", bundle, tmp_path / "out", 5)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"is a file\. Give a folder with --out"):
        plan(folder, bundle, tmp_path / "file", 5)


def test_names_that_are_no_utf8_are_written_with_their_bytes_and_scored(folder, bundle, tmp_path):
    odd = os.fsencode(folder) + b"/caf\xe9 <b>.png"
    shutil.copyfile(next(folder.glob("blue/*[0-9].png")), odd)
    run(folder, bundle, tmp_path / "out")
    rows = {row["path"]: row for row in table(tmp_path / "out").to_pylist()}
    assert rows["caf\\xe9 <b>.png"]["status"] == "ok"


def test_a_file_that_vanishes_after_it_was_listed_is_a_row(folder, bundle, tmp_path):
    out = tmp_path / "out"
    plan(folder, bundle, out, 100)
    gone = next(folder.glob("blue/*[0-9].png"))
    gone.unlink()
    score_part(out, 0, bundle.runner(), bundle)
    row = next(row for row in table(out).to_pylist() if row["path"] == f"blue/{gone.name}")
    assert (row["status"], row["reason"], row["sha256"], row["width"]) == ("quarantined", "unreadable", None, None)


def test_scoring_gives_the_network_the_very_pixels_that_training_saw(images, dataset, bundle, tmp_path):
    """No training/serving skew: bit for bit, JPEG and PNG, those of the shards."""
    fed: list[np.ndarray] = []

    class Watched:
        def with_embeddings(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            fed.extend(batch)
            return np.zeros((len(batch), 3), np.float32), np.zeros((len(batch), 512), np.float32)

    wanted = dataset.paths("train")
    plan(images, bundle, tmp_path / "out", dataset=dataset.folder, split="train")
    score_part(tmp_path / "out", 0, Watched(), bundle, num_threads=1)  # type: ignore[arg-type]
    stored = {record.path: decode_stored(record.encoded) for record in dataset.records("train")}
    assert len(fed) == len(wanted) == len(stored)
    for path, pixels in zip(sorted(wanted), fed, strict=True):
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels, stored[path])


def test_a_part_reads_only_its_own_rows_of_the_plan(folder, bundle, tmp_path):
    out = tmp_path / "out"
    plan(folder, bundle, out, 4)
    assert pq.ParquetFile(TablePaths(out).planned_files).num_row_groups == 6
    counts = [score_part(out, index, bundle.runner(), bundle).num_rows for index in range(6)]
    assert counts == [4, 4, 4, 4, 4, 1]


def test_images_are_held_a_few_batches_at_a_time(folder, bundle, tmp_path, monkeypatch):
    """However many files a part has."""
    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(stream, "PNG")
    for number in range(1500):
        (folder / f"{number:04d}.png").write_bytes(stream.getvalue())
    begun = 0
    most_ahead = 0
    written = 0
    decoded, row = score_rows._decoded, score_rows._row

    def counting_decoded(*args: Any) -> Any:
        nonlocal begun
        begun += 1
        return decoded(*args)

    def counting_row(*args: Any) -> Any:
        nonlocal written, most_ahead
        most_ahead = max(most_ahead, begun - written)
        written += 1
        return row(*args)

    monkeypatch.setattr(score_rows, "_decoded", counting_decoded)
    monkeypatch.setattr(score_rows, "_row", counting_row)
    plan(folder, bundle, tmp_path / "out", 5000)
    score_part(tmp_path / "out", 0, bundle.runner(), bundle, num_threads=4)
    assert written == begun == 1521
    assert most_ahead <= 100


def test_the_number_of_threads_changes_no_byte(images, bundle, scored, tmp_path):
    """Nor does where one batch ends and the next begins: a part of its own size begins each run here."""
    runner = bundle.runner(num_threads=1)
    for num_threads in (1, 3, 8):
        out = tmp_path / f"{num_threads}"
        for index in range(plan(images, bundle, out, 20).num_parts):
            score_part(out, index, runner, bundle, num_threads)
        assert part_bytes(out) == part_bytes(scored)
        for index in range(plan(images, bundle, tmp_path / f"{num_threads} at once", 27).num_parts):
            score_part(tmp_path / f"{num_threads} at once", index, runner, bundle, num_threads)
        assert table(tmp_path / f"{num_threads} at once").equals(table(scored))
