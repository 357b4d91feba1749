"""The hostile corpus through decoding, a whole ingest and a whole scoring: each file ends as its case says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.errors import ImageError
from darkroom.data.images.decode import decode_stored, decode_with_header
from darkroom.data.ingest.parts import write_part
from darkroom.data.ingest.plan import plan_ingest
from darkroom.data.ingest.publication import publish
from darkroom.data.ingest.request import IngestRequest, IngestSettings
from darkroom.data.labels.rules import LabelRules
from darkroom.data.shards.shards import ShardRules
from darkroom.data.sources.resolve import Source
from darkroom.data.stores.listing import list_files, printable, read_file
from darkroom.data.stores.workspace import Workspace
from darkroom.models.onnx.runtime import OnnxRunner
from darkroom.models.scoring.parts import open_runner, score_part
from darkroom.models.scoring.summary import ScoreSummary, summarize
from tests.bundles import tiny_bundle
from tests.corpus import HEIGHT, LABELS, POLICY, WIDTH, Case, change, encoded, picture, write_corpus
from tests.scoring import plan

NUM_GOOD = 40


class Corpus:
    """A written corpus among good images."""

    def __init__(self, folder: Path, outside: Path) -> None:
        self.folder = folder
        self.cases = write_corpus(folder, outside)
        self.good = {}
        for number in range(NUM_GOOD):
            name = f"{LABELS[number % 2]}/good {number:03d}.png"
            self.good[name] = picture(name)
            (folder / name).write_bytes(encoded(self.good[name], "PNG"))

    def change(self) -> None:
        change(self.folder, self.cases)

    @property
    def expected(self) -> dict[str, Case]:
        """Every row's case by printable path, good images included."""
        good = {name: Case(name, "good image", None, pixels) for name, pixels in self.good.items()}
        return {printable(os_path): case for os_path, case in {**self.cases, **good}.items()}


def check_pixels(found: dict[str, NDArray[np.uint8]], expected: dict[str, Case]) -> None:
    wrong = {}
    for path, pixels in found.items():
        case = expected[path]
        assert pixels.dtype == np.uint8
        assert pixels.shape == (HEIGHT, WIDTH, 3)
        assert case.pixels is not None, f"{path} was decoded"
        difference = np.abs(pixels.astype(int) - case.pixels).max()
        if difference > case.tolerance:
            wrong[path] = (case.how, int(difference), case.tolerance)
    assert not wrong
    assert sorted(found) == sorted(path for path, case in expected.items() if case.reason is None)


def check_rows(rows: list[dict[str, Any]], expected: dict[str, Case]) -> None:
    assert sorted(row["path"] for row in rows) == sorted(expected)
    wrong = {
        row["path"]: (row["reason"], expected[row["path"]].reason)
        for row in rows
        if row["reason"] != expected[row["path"]].reason
    }
    assert not wrong
    for row in rows:
        case = expected[row["path"]]
        assert row["status"] == ("ok" if case.reason is None else "quarantined")
        if case.reason is None:
            assert (row["width"], row["height"]) == case.stored, row["path"]


@pytest.fixture(scope="session")
def corpus_dataset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Corpus]:
    """The corpus ingested with plain functions; its files change between plan and reading."""
    root = tmp_path_factory.mktemp("ingest")
    corpus = Corpus(root / "images", root / "outside")
    settings = IngestSettings(
        name="hostile",
        labels=LabelRules(exclude=("dogs/outside-folder",)),  # a link out of the source, which stops an ingest
        policy=POLICY,
        shards=ShardRules(rows_per_shard=64),
        max_quarantined_share=0.9,
    )
    workspace = Workspace(root / "workspace")
    source = Source(str(corpus.folder), corpus.folder, "hostile", "folder")
    planned = plan_ingest(IngestRequest(source, settings, workspace))
    corpus.change()
    for index in range(planned.num_parts):
        write_part(planned.staging, index)
    return open_dataset(publish(planned.staging, workspace)), corpus


class RecordingRunner(OnnxRunner):
    """Keeps the network's input."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.seen: list[NDArray[np.uint8]] = []

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.seen.extend(images)
        return super().__call__(images)


@pytest.fixture(scope="session")
def corpus_scores(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[list[dict[str, Any]], list[NDArray[np.uint8]], Corpus, ScoreSummary]:
    """The corpus scored with plain functions: rows, the network's input in the order of the rows, corpus, summary."""
    root = tmp_path_factory.mktemp("scored")
    corpus = Corpus(root / "images", root / "outside")
    _, bundle = open_runner(tiny_bundle(root / "bundle", LABELS, (HEIGHT, WIDTH), POLICY))
    runner = RecordingRunner(bundle.onnx_path)
    planned = plan(corpus.folder, bundle, root / "scores", rows_per_part=64)
    corpus.change()
    for index in range(planned.num_parts):
        score_part(root / "scores", index, runner, bundle, num_threads=1)
    summary = summarize(root / "scores", (), "2026-01-01T00:00:00+00:00", 1.0, None)
    rows = [row for part in summary.parts for row in pq.read_table(root / "scores" / part.file).to_pylist()]
    return rows, runner.seen, corpus, summary


def test_the_corpus_is_large_and_every_kind_of_reason_is_in_it(tmp_path: Path) -> None:
    written = write_corpus(tmp_path / "images", tmp_path / "outside")
    assert len(written) >= 60
    assert {case.reason for case in written.values()} == {
        None,
        "empty",
        "not_an_image",
        "truncated",
        "corrupt",
        "unsupported",
        "too_large",
        "too_costly",
        "unreadable",
        "stray_file",
        "link_outside",
        "link_to_folder",
        "broken_link",
        "not_a_file",
    }
    contents = [case.content for case in written.values() if case.reason is None and not case.then]
    assert len(set(contents)) == len(contents)


def test_listing_reading_and_decoding_end_each_file_as_its_case_says(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "images", tmp_path / "outside")
    entries = list_files(corpus.folder)
    assert {entry.os_path for entry in entries} == {*corpus.cases, *corpus.good}
    corpus.change()
    reasons: dict[str, str | None] = {}
    found = {}
    for entry in entries:
        try:
            if entry.reason:
                raise ImageError(entry.reason)
            data = read_file(corpus.folder, entry.os_path, POLICY.max_bytes)
            decoded = decode_with_header(data, POLICY)
            reasons[entry.path] = None
            found[entry.path] = decoded.pixels
            assert (decoded.width, decoded.height) == corpus.expected[entry.path].stored, entry.path
        except ImageError as error:
            reasons[entry.path] = error.reason
    assert reasons == {path: case.reason for path, case in corpus.expected.items()}
    check_pixels(found, corpus.expected)


def test_ingest_writes_each_files_row_and_pixels(corpus_dataset: tuple[Dataset, Corpus]) -> None:
    dataset, corpus = corpus_dataset
    check_rows(dataset.manifest().to_pylist(), corpus.expected)
    splits = sorted({shard.split for shard in dataset.card.shards})
    stored = {record.path: decode_stored(record.encoded) for split in splits for record in dataset.records(split)}
    check_pixels(stored, corpus.expected)
    for row in dataset.manifest().to_pylist():
        if row["status"] == "ok":
            assert row["label"] == row["path"].split("/")[0]


def test_scoring_writes_each_files_row_and_sees_its_pixels(
    corpus_scores: tuple[list[dict[str, Any]], list[NDArray[np.uint8]], Corpus, ScoreSummary],
) -> None:
    rows, seen, corpus, summary = corpus_scores
    check_rows(rows, corpus.expected)
    assert [row["path"] for row in rows] == sorted(corpus.expected)
    usable = [row["path"] for row in rows if row["status"] == "ok"]
    check_pixels(dict(zip(usable, seen, strict=True)), corpus.expected)
    for row in rows:
        given = [row[name] is not None for name in ("label", "confidence", "abstained", "top_k")]
        assert given == [row["status"] == "ok"] * 4
    assert summary.num_files == len(rows)
    assert {count.name: count.num_rows for count in summary.statuses} == {
        "ok": len(usable),
        "quarantined": len(rows) - len(usable),
    }


def test_ingest_and_scoring_agree_on_every_file_pixel_for_pixel(
    corpus_dataset: tuple[Dataset, Corpus],
    corpus_scores: tuple[list[dict[str, Any]], list[NDArray[np.uint8]], Corpus, ScoreSummary],
) -> None:
    dataset, _ = corpus_dataset
    rows, seen, _, _ = corpus_scores
    columns = ("sha256", "status", "reason", "width", "height")
    ingested = {row["path"]: [row[name] for name in columns] for row in dataset.manifest().to_pylist()}
    assert {row["path"]: [row[name] for name in columns] for row in rows} == ingested
    splits = sorted({shard.split for shard in dataset.card.shards})
    stored = {record.path: decode_stored(record.encoded) for split in splits for record in dataset.records(split)}
    usable = [row["path"] for row in rows if row["status"] == "ok"]
    for path, pixels in zip(usable, seen, strict=True):
        np.testing.assert_array_equal(pixels, stored[path], err_msg=path)
