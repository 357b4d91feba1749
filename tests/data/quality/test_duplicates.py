"""Copies are found by bytes and by looks, and the gate keeps copies of held-out images out of training."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.errors import InputError
from darkroom.data.images.decode import decode
from darkroom.data.images.pixels.augment import AugmentPolicy
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest import publication
from darkroom.data.ingest.parts import write_part
from darkroom.data.ingest.plan import plan_ingest
from darkroom.data.ingest.publication import publish
from darkroom.data.ingest.request import IngestRequest, IngestSettings
from darkroom.data.quality.duplicates import Images, Pairs, choose_leaks, duplicates_table, find_duplicates
from darkroom.data.quality.hash_search import near_hashes
from darkroom.data.quality.perceptual import perceptual_hash, similarity, thumbnail
from darkroom.data.shards.shards import ShardRules
from darkroom.data.sources.resolve import Source
from darkroom.data.stores.workspace import Workspace

SHARED = Path(__file__).parents[3] / ".." / "shared" / "data"
POLICY = DecodePolicy(image_size=(64, 64))
X_RAY_COPIES = {
    ("train/Covid/38.png", "test/Covid/40.png"),
    ("train/Covid/70.png", "test/Covid/47.png"),
    ("train/Covid/71.png", "test/Covid/55.png"),
    ("train/Covid/160.png", "test/Covid/58.png"),
    ("train/Covid/179.png", "test/Covid/8.png"),
    ("train/Covid/239.png", "test/Covid/24.png"),
}


def scene(seed: int, side: int = 96) -> NDArray[np.uint8]:
    """A picture with detail of its own: coarse blocks of random grey, smoothed, and finer ones on top."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 255, (6, 6), dtype=np.uint8)).resize((side, side))
    fine = Image.fromarray(generator.integers(0, 255, (24, 24), dtype=np.uint8)).resize((side, side))
    grey = (0.6 * np.asarray(coarse) + 0.3 * np.asarray(fine)).astype(np.uint8)
    return np.stack([grey] * 3, axis=2)


def png(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def jpeg(pixels: NDArray[np.uint8] | Image.Image, quality: int = 90) -> bytes:
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def half(image: Image.Image) -> bytes:
    return jpeg(image.resize((image.width // 2, image.height // 2)))


def poorer(image: Image.Image) -> bytes:
    return jpeg(image, 40)


def cropped(image: Image.Image) -> bytes:
    """The centre, 95 % of width and height."""
    left, top = image.width // 40, image.height // 40
    return jpeg(image.crop((left, top, image.width - left, image.height - top)), 95)


def brighter(image: Image.Image) -> bytes:
    return jpeg(image.point(lambda value: min(255, round(1.2 * value))), 95)


CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "half": half,
    "poorer": poorer,
    "cropped": cropped,
    "brighter": brighter,
}


def copies_of(files: dict[str, bytes], policy: DecodePolicy = POLICY) -> set[tuple[str, str, str]]:
    """(path, other, kind) of the copies among files `<split>/<label>/<name>`."""
    rows, thumbnails = [], []
    for place, path in enumerate(sorted(files)):
        pixels = decode(files[path], policy)
        width, height = Image.open(io.BytesIO(files[path])).size
        split, label, _ = path.split("/")
        thumbnails.append(thumbnail(Image.fromarray(pixels)))
        rows.append(
            {
                "path": path,
                "sha256": hashlib.sha256(files[path]).hexdigest(),
                "perceptual_hash": perceptual_hash(thumbnails[-1]),
                "width": width,
                "height": height,
                "label": label,
                "split": split,
                "place": place,
            }
        )
    stored = np.array(thumbnails)
    images = Images.of(pa.Table.from_pylist(rows), policy.image_size)
    table = duplicates_table(images, find_duplicates(images, lambda places: stored[places]), [])
    return {(row["path"], row["other"], row["kind"]) for row in table.to_pylist()}


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def begin(source: Path, workspace: Path, **changed: object) -> Path:
    """All parts of an ingest, ready to be published."""
    values = {"name": "set", "policy": POLICY, "shards": ShardRules(rows_per_shard=7), **changed}
    planned = plan_ingest(
        IngestRequest(
            Source(str(source), source, "set", "folder"), IngestSettings.model_validate(values), Workspace(workspace)
        )
    )
    for index in range(planned.num_parts):
        write_part(planned.staging, index)
    return planned.staging


def ingested(source: Path, workspace: Path, **changed: object) -> Dataset:
    return open_dataset(publish(begin(source, workspace, **changed), Workspace(workspace)))


def leaky_files() -> dict[str, bytes]:
    """Ten images a class for training, two for validation and two for testing, and copies among them."""
    files = {
        f"{split}/{label}/{number}.png": png(scene(seed * 1000 + place * 100 + number))
        for seed, label in enumerate(("cat", "dog"))
        for place, (split, count) in enumerate((("train", 10), ("validation", 2), ("test", 2)))
        for number in range(count)
    }
    files["train/cat/exact.png"] = files["test/cat/0.png"]
    files["train/cat/near.jpg"] = poorer(Image.fromarray(scene(200)))  # of test/cat/0.png
    files["validation/dog/exact.png"] = files["test/dog/1.png"]
    files["train/dog/held.png"] = files["validation/dog/0.png"]
    files["train/dog/cat.png"] = files["train/cat/3.png"]  # two labels
    files["train/cat/dog.png"] = files["test/dog/0.png"]  # two labels, one held out
    files["train/dog/twice.png"] = files["train/dog/5.png"]
    return files


QUARANTINED = {
    "train/cat/exact.png": ("copy_of_test", "test/cat/0.png"),
    "train/cat/near.jpg": ("copy_of_test", "test/cat/0.png"),
    "validation/dog/exact.png": ("copy_of_test", "test/dog/1.png"),
    "train/dog/held.png": ("copy_of_validation", "validation/dog/0.png"),
    "train/dog/cat.png": ("conflicting_label", "train/cat/3.png"),
    "train/cat/3.png": ("conflicting_label", "train/dog/cat.png"),
    "train/cat/dog.png": ("conflicting_label", "test/dog/0.png"),
}


@given(
    st.lists(st.integers(0, 2**64 - 1), max_size=20),
    st.lists(st.tuples(st.integers(0, 19), st.sets(st.integers(0, 63), max_size=14)), max_size=30),
    st.integers(0, 11),
    st.sampled_from([0, 5000]),
)
@settings(max_examples=200, deadline=None)
def test_the_search_finds_what_comparing_all_with_all_finds(
    base: list[int], changed: list[tuple[int, set[int]]], max_distance: int, few: int
) -> None:
    near = [base[place] ^ sum(1 << bit for bit in bits) for place, bits in changed if place < len(base)]
    values = list(dict.fromkeys(base + near))[:60]
    expected = {
        (i, j) for j, b in enumerate(values) for i, a in enumerate(values[:j]) if (a ^ b).bit_count() <= max_distance
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("darkroom.data.quality.hash_search._FEW_HASHES", few)
        pairs, reached = near_hashes(np.array(values, dtype=np.uint64), max_distance)
    assert reached == max_distance
    assert len(pairs) == len(expected)
    assert {(int(i), int(j)) for i, j in pairs} == expected


def test_equal_hashes_are_compared_with_ten_of_them_at_most() -> None:
    hashes = np.array([7] * 500 + [7 ^ 1] * 3, dtype=np.uint64)
    pairs, _ = near_hashes(hashes)
    found = {(int(i), int(j)) for i, j in pairs}
    ten = {(i, j) for j in range(500) for i in range(min(j, 10))}
    assert found == ten | {(500, 501), (500, 502), (501, 502)} | {(i, j) for i in range(10) for j in (500, 501, 502)}


@pytest.mark.parametrize("few", [0, 5000])
def test_where_too_much_looks_alike_the_distance_is_lowered_and_said(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr("darkroom.data.quality.hash_search._FEW_HASHES", few)
    hashes = np.unique(np.random.default_rng(0).integers(0, 2**12, 2000).astype(np.uint64))
    monkeypatch.setattr("darkroom.data.quality.hash_search._MAX_CANDIDATES", 10_000)
    pairs, reached = near_hashes(hashes)
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None])[np.triu_indices(len(hashes), 1)]
    assert 0 < reached < 10
    assert (distance <= reached).sum() == len(pairs) <= 10_000
    assert (distance <= reached + 1).sum() > 10_000


def test_where_there_would_be_too_much_to_compare_only_equal_hashes_are(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = np.unique(np.random.default_rng(0).integers(0, 2**12, 2000).astype(np.uint64))
    monkeypatch.setattr("darkroom.data.quality.hash_search._FEW_HASHES", 0)
    monkeypatch.setattr("darkroom.data.quality.hash_search._MAX_COMPARISONS", 0)
    assert near_hashes(hashes)[1] == 0


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_a_near_copy_and_a_different_one_is_not(change: str) -> None:
    files = {f"train/a/{seed}.png": png(scene(seed)) for seed in range(20)}
    files["test/a/copy.jpg"] = CHANGES[change](Image.fromarray(scene(4)))
    assert copies_of(files) == {("train/a/4.png", "test/a/copy.jpg", "near")}


def test_the_same_bytes_are_exact_copies_within_and_across_splits() -> None:
    one, two = png(scene(1)), png(scene(2))
    files = {"train/a/1.png": one, "train/b/1.png": one, "test/a/9.png": one, "train/a/2.png": two}
    assert copies_of(files) == {
        ("train/a/1.png", "test/a/9.png", "exact"),
        ("train/b/1.png", "test/a/9.png", "exact"),
        ("train/b/1.png", "train/a/1.png", "exact"),
    }


def test_flat_images_are_no_near_copies_of_each_other() -> None:
    side = np.full((64, 64, 3), 120, np.uint8)
    slope = np.stack([np.tile(np.linspace(100, 130, 64), (64, 1)).astype(np.uint8)] * 3, axis=2)
    files = {f"train/a/{grey}.png": png(np.full_like(side, grey)) for grey in range(40, 80)}
    files |= {"test/a/slope.png": png(slope), "train/a/slope.png": png(slope + np.uint8(1))}
    assert copies_of(files) == set()


def test_small_images_that_look_alike_are_not_copies() -> None:
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    scans = np.rint(digits.images[:600] * 255 / 16).astype(np.uint8)
    assert copies_of({f"train/d/{n:03d}.png": png(np.stack([scan] * 3, 2)) for n, scan in enumerate(scans)}) == set()


def test_similarity_is_symmetric_one_for_the_same_and_blind_to_brightness() -> None:
    first = np.array([thumbnail(Image.fromarray(scene(1)))] * 3)
    second = np.array([first[0], first[0] // 2 + 60, thumbnail(Image.fromarray(scene(2)))])
    found = similarity(first, second)
    assert found[0] == pytest.approx(1, abs=1e-5)
    assert found[1] > 0.97
    assert found[2] < 0.5
    assert similarity(second, first) == pytest.approx(found, abs=1e-5)


def test_leaks_are_quarantined_by_default_and_never_the_held_out_image(tmp_path: Path) -> None:
    files = leaky_files()
    dataset = ingested(write_files(tmp_path / "source", files), tmp_path / "w")
    rows = {row["path"]: row for row in dataset.manifest().to_pylist()}
    gone = {path: (row["reason"], row["copy_of"]) for path, row in rows.items() if row["status"] != "ok"}
    assert gone == QUARANTINED
    assert set(rows) == set(files)
    stored = {split: [r.path for r in dataset.records(split)] for split in ("train", "validation", "test")}
    for split, paths in stored.items():
        assert sorted(paths) == sorted(path for path in set(files) - set(gone) if path.startswith(split))
        assert dataset.card.num_images(split) == len(paths)
    actions = {row["action"] for row in dataset.duplicates().to_pylist() if row["path"] in gone}
    assert actions == {"set_aside", "both_set_aside"}
    summary = dataset.card.duplicate_summary
    assert (summary.leaks, summary.num_set_aside, summary.num_leaked, summary.num_conflicting) == ("drop", 7, 5, 4)
    assert {row["path"] for row in dataset.duplicates().to_pylist() if row["action"] == "kept"} == {
        "train/dog/twice.png"
    }


@pytest.mark.parametrize("shard_format", ["tfrecord", "parquet", "webdataset"])
def test_shards_written_without_the_leaks_hold_the_other_images_unchanged(tmp_path: Path, shard_format: str) -> None:
    source = write_files(tmp_path / "source", leaky_files())
    rules = ShardRules(rows_per_shard=7, format=shard_format)  # type: ignore[arg-type]
    kept = ingested(
        source, tmp_path / "w", shards=rules, leaks="keep", copies=2, augmentation=AugmentPolicy(flip_horizontal=True)
    )
    dropped = ingested(
        source, tmp_path / "w", shards=rules, leaks="drop", copies=2, augmentation=AugmentPolicy(flip_horizontal=True)
    )
    for split in ("train", "validation", "test"):
        expected = [record for record in kept.records(split) if record.path not in QUARANTINED]
        assert list(dropped.records(split)) == expected
        shards = [shard for shard in dropped.card.shards if shard.split == split]
        assert sum(shard.num_rows for shard in shards) == len(expected)
        assert sum(shard.num_copies for shard in shards) == sum(record.copy > 0 for record in expected)
    assert sum(record.copy == 0 for record in dropped.records("train")) == dropped.card.num_images("train")


def test_leaks_that_are_kept_are_listed_and_used(tmp_path: Path) -> None:
    dataset = ingested(write_files(tmp_path / "source", leaky_files()), tmp_path / "w", leaks="keep")
    assert dataset.card.num_ok == len(leaky_files())
    assert {row["action"] for row in dataset.duplicates().to_pylist()} == {"kept"}
    assert dataset.card.duplicate_summary.num_leaked == 5
    assert dataset.card.duplicate_summary.num_set_aside == 0


def test_leaks_stop_the_ingest_where_that_is_asked_for(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", leaky_files())
    with pytest.raises(InputError, match=r"7 images must not.*train/cat/exact\.png = test/cat/0\.png.*--leaks drop"):
        ingested(source, tmp_path / "w", leaks="fail")
    assert not list((tmp_path / "w").glob("datasets/set/*/dataset.json"))
    for path in QUARANTINED:
        (source / path).unlink()
    assert ingested(source, tmp_path / "w", leaks="fail").card.duplicate_summary.num_leaked == 0


def test_a_class_of_which_only_leaks_are_left_is_an_error(tmp_path: Path) -> None:
    files = {path: data for path, data in leaky_files().items() if not path.startswith("train/dog/")}
    files["train/dog/a.png"] = files["test/dog/0.png"]
    with pytest.raises(InputError, match="no image to train on for dog"):
        ingested(write_files(tmp_path / "source", files), tmp_path / "w")


def test_images_quarantined_by_the_gate_do_not_count_as_broken(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", leaky_files())
    assert ingested(source, tmp_path / "w", max_quarantined_share=0.0).card.duplicate_summary.num_set_aside == 7


def test_a_publish_that_was_killed_gives_the_same_bytes_when_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_files(tmp_path / "source", leaky_files())
    whole = ingested(source, tmp_path / "w").folder
    expected = {path.relative_to(whole): path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    shutil.rmtree(tmp_path / "w")
    staging = begin(source, tmp_path / "w")
    with monkeypatch.context() as patched:

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(publication, "_check_shards", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(staging, Workspace(tmp_path / "w"))
    again = publish(staging, Workspace(tmp_path / "w"))
    assert again == whole
    assert {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()} == expected


def test_a_training_copy_of_a_validation_image_stays_where_that_one_goes() -> None:
    table = pa.table({"path": ["t", "v", "x"], "label": ["a", "a", "a"]})
    images = Images(table, np.array([0, 1, 2]), np.zeros(3, np.uint64), np.zeros(3, bool), np.arange(3))
    pairs = Pairs(
        first=np.array([0, 1]),
        second=np.array([1, 2]),
        is_exact=np.array([False, False]),
        distance=np.array([4, 6]),
        similarity=np.array([0.9, 0.9]),
        max_distance=10,
    )
    chosen = choose_leaks(images, pairs)
    assert {index: (why.reason, why.copy_of) for index, why in chosen.items()} == {1: ("copy_of_test", 0)}


@pytest.mark.skipif(not (SHARED / "covid19_xray").is_dir(), reason="needs ../shared/data/covid19_xray")
def test_the_copies_in_the_x_rays_are_named(tmp_path: Path) -> None:
    dataset = ingested(SHARED / "covid19_xray", tmp_path / "w", policy=DecodePolicy())
    rows = dataset.duplicates().to_pylist()
    across = {(r["path"], r["other"]) for r in rows if r["kind"] == "exact" and r["other_split"] != r["split"]}
    assert across == X_RAY_COPIES
    # The same picture with another contrast: seen with our own eyes.
    assert {frozenset((r["path"], r["other"])) for r in rows if r["kind"] == "near"} == {
        frozenset(pair)
        for pair in (
            ("test/Covid/41.png", "test/Covid/15.png"),
            ("test/Covid/46.png", "test/Covid/26.png"),
            ("test/Covid/58.png", "test/Covid/55.png"),
            ("test/Covid/60.png", "test/Covid/24.png"),
            ("train/Covid/160.png", "test/Covid/55.png"),
            ("train/Covid/160.png", "train/Covid/71.png"),
            ("train/Covid/71.png", "test/Covid/58.png"),
            ("train/Covid/216.png", "test/Covid/16.png"),
            ("train/Covid/216.png", "test/Covid/56.png"),
            ("train/Covid/239.png", "test/Covid/60.png"),
            ("train/Covid/52.png", "train/Covid/107.png"),
        )
    }
    aside = {row["path"] for row in dataset.manifest().to_pylist() if row["reason"] == "copy_of_test"}
    assert aside == {path for path, _ in X_RAY_COPIES} | {"train/Covid/216.png"}
    assert aside.isdisjoint(record.path for split in ("train", "validation") for record in dataset.records(split))
    assert dataset.card.num_images("test") == 66
    table = pq.read_table(dataset.folder / "duplicates.parquet")
    assert table["path"].to_pylist() == sorted(table["path"].to_pylist())


@pytest.mark.skipif(not (SHARED / "cats_dogs").is_dir(), reason="needs ../shared/data/cats_dogs")
def test_precision_and_recall_on_photographs() -> None:
    """Of 200 photographs and four changes of each, what is called a copy is one, and nearly all are found."""
    paths = sorted((SHARED / "cats_dogs" / "validation").rglob("*.jpg"))[::4]
    files: dict[str, bytes] = {}
    for number, path in enumerate(paths):
        files[f"test/{number}/0"] = path.read_bytes()
        image = Image.open(path).convert("RGB")
        files |= {f"train/{number}/{name}": change(image) for name, change in CHANGES.items()}
    truth = {f"train/{number}/{name}" for number in range(len(paths)) for name in CHANGES}
    across = [(a, b) for a, b, _ in copies_of(files, DecodePolicy()) if b.startswith("test")]
    right = [pair for pair in across if pair[0].split("/")[1] == pair[1].split("/")[1]]
    assert len(paths) == 200
    assert len(right) / len(across) >= 0.99
    assert len({path for path, _ in right}) / len(truth) >= 0.98
