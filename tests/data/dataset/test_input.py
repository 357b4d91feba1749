"""What a network trains on: bit for bit what `decode` computes, every image once, the same for a seed and an epoch."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.dataset import input as data_input
from darkroom.data.dataset.dataset import Dataset
from darkroom.data.dataset.input import WHOLE, Share, Shuffle, batches, keep
from darkroom.data.errors import FormatError, InputError
from darkroom.data.images.decode import decode, decode_stored
from darkroom.data.images.pixels.augment import AugmentPolicy, augment
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest.request import IngestSettings
from darkroom.data.shards.shards import ShardRules
from tests.datasets import ingest

FORMATS = ("tfrecord", "parquet", "webdataset")
PHOTOGRAPHS = Path(__file__).parents[4] / "shared" / "data" / "cats_dogs" / "train"
SIZE = (40, 48)


def picture(number: int) -> Image.Image:
    """Smooth, large and different for each number, as photographs are."""
    small = np.random.default_rng(number).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((150 + number % 7, 120 + number % 5), Image.Resampling.BICUBIC)


def awkward(number: int, image: Image.Image) -> bytes:
    """The image as some file that sources have: JPEG, CMYK, grey with 16 bits, palette, transparent, turned."""
    stream = io.BytesIO()
    kind = number % 6
    if kind == 0:
        image.save(stream, "JPEG", quality=80)
    elif kind == 1:
        image.convert("CMYK").save(stream, "JPEG")
    elif kind == 2:
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(stream, "PNG")
    elif kind == 3:
        image.convert("P").save(stream, "GIF")
    elif kind == 4:
        image.putalpha(image.convert("L"))
        image.save(stream, "WEBP", lossless=True)
    else:
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(stream, "JPEG", exif=exif)
    return stream.getvalue()


def write_source(folder: Path) -> Path:
    number = 0
    for split, count in (("train", 18), ("val", 6), ("test", 6)):
        for label in ("left", "right"):
            (folder / split / label).mkdir(parents=True)
            for _ in range(count):
                (folder / split / label / f"{number}.img").write_bytes(awkward(number, picture(number)))
                number += 1
    return folder


def make(folder: Path, workspace: Path, shard_format: Any, **changes: Any) -> Dataset:
    rules = ShardRules(format=shard_format, rows_per_shard=15, images=changes.pop("images", "png"))
    settings = IngestSettings(name="t", policy=DecodePolicy(image_size=SIZE), shards=rules, leaks="keep", **changes)
    return ingest(folder, workspace, settings)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module", params=FORMATS)
def dataset(request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make(source, tmp_path_factory.mktemp("w"), request.param)


def collected(stream: Any) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """All images and labels of a stream of batches."""
    images, labels = zip(*((x.numpy(), y.numpy()) for x, y in stream), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def counted(stream: Any) -> Counter[tuple[bytes, int]]:
    images, labels = collected(stream)
    return Counter((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))


def assert_trains_on_decoded_pixels(dataset: Dataset, folder: Path) -> None:
    policy = dataset.card.policy
    rows = [row for row in dataset.manifest("path", "label", "split").to_pylist() if row["split"]]
    for split in ("train", "validation", "test"):
        expected = Counter(
            (decode((folder / row["path"]).read_bytes(), policy).tobytes(), dataset.card.labels.index(row["label"]))
            for row in rows
            if row["split"] == split
        )
        assert counted(batches(dataset, split, 7)) == expected
        assert counted(batches(dataset, split, 7, Shuffle(3, 4))) == expected


def test_the_network_trains_on_the_very_pixels_that_scoring_computes(dataset: Dataset, source: Path) -> None:
    assert dataset.card.num_ok == 60
    assert_trains_on_decoded_pixels(dataset, source)


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the photographs of ../shared/data are absent")
@pytest.mark.parametrize("shard_format", FORMATS)
def test_the_same_holds_for_real_photographs(shard_format: str, tmp_path: Path) -> None:
    for label in ("cats", "dogs"):
        (tmp_path / "source" / label).mkdir(parents=True)
        for path in sorted((PHOTOGRAPHS / label).iterdir())[:30]:
            (tmp_path / "source" / label / path.name).write_bytes(path.read_bytes())
    dataset = make(tmp_path / "source", tmp_path / "w", shard_format)
    assert dataset.card.num_ok == 60
    assert_trains_on_decoded_pixels(dataset, tmp_path / "source")


def test_batches_are_uint8_with_int32_labels_and_the_last_may_be_smaller(dataset: Dataset) -> None:
    stream = batches(dataset, "train", 8)
    assert stream.element_spec[0].shape.as_list() == [None, *SIZE, 3]
    assert (stream.element_spec[0].dtype, stream.element_spec[1].dtype) == (tf.uint8, tf.int32)
    assert [len(labels) for _, labels in stream] == [8, 8, 8, 8, 4]
    assert int(stream.cardinality()) == 5


def test_without_a_shuffle_the_order_is_that_of_the_shards(dataset: Dataset) -> None:
    images, labels = collected(batches(dataset, "train", 5))
    records = list(dataset.records("train"))
    assert labels.tolist() == [record.label_index for record in records]
    np.testing.assert_array_equal(images, np.stack([decode_stored(record.encoded) for record in records]))


POLICY = AugmentPolicy(flip_horizontal=True, shift=0.1, brightness=0.2)


def test_a_seed_and_an_epoch_give_the_same_batches_and_another_gives_others(dataset: Dataset) -> None:
    def train(seed: int, epoch: int, policy: AugmentPolicy | None) -> bytes:
        images, labels = collected(batches(dataset, "train", 8, Shuffle(seed, epoch, policy)))
        return images.tobytes() + labels.tobytes()

    for policy in (None, POLICY):
        first = train(1, 0, policy)
        assert train(1, 0, policy) == first
        assert len({first, train(1, 1, policy), train(2, 0, policy), train(0, 1, policy)}) == 4


def test_the_shuffle_mixes_the_classes_and_the_shards(dataset: Dataset) -> None:
    orders = [collected(batches(dataset, "train", 36, Shuffle(0, epoch)))[1].tolist() for epoch in range(4)]
    in_order = collected(batches(dataset, "train", 36))[1].tolist()
    assert all(sorted(order) == sorted(in_order) for order in orders)
    assert len({tuple(order) for order in [*orders, in_order]}) == 5


def test_an_image_is_changed_by_its_hash_seed_and_epoch_wherever_it_stands(dataset: Dataset) -> None:
    shuffle = Shuffle(5, 2, POLICY)
    found = counted(batches(dataset, "train", 4, shuffle))
    assert found == counted(batches(dataset, "train", 36, shuffle))
    expected: Counter[tuple[bytes, int]] = Counter()
    for record in dataset.records("train"):
        words = f"{record.sha256}/{record.copy}/5/2"
        seed = [tf.strings.to_hash_bucket_strong(words, 2**31 - 1, key) for key in ([1, 2], [3, 4])]
        image = augment(tf.constant(decode_stored(record.encoded)), tf.cast(tf.stack(seed), tf.int32), POLICY)
        expected[image.numpy().tobytes(), record.label_index] += 1
    assert found == expected


def test_all_formats_give_the_same_batches(source: Path, tmp_path: Path) -> None:
    made = [make(source, tmp_path / shard_format, shard_format) for shard_format in FORMATS]
    for arguments in (("test", 4), ("train", 8, Shuffle(1, 1, POLICY))):
        first, *others = (collected(batches(dataset, *arguments)) for dataset in made)
        for other in others:
            np.testing.assert_array_equal(first[0], other[0])
            np.testing.assert_array_equal(first[1], other[1])


@pytest.mark.parametrize("shard_format", FORMATS)
def test_jpeg_shards_are_near_the_decoded_pixels_and_read_alike_by_tensorflow_and_pillow(
    shard_format: str, source: Path, tmp_path: Path
) -> None:
    dataset = make(source, tmp_path, shard_format, images="jpeg")
    images, _ = collected(batches(dataset, "train", 8))
    for image, record in zip(images, dataset.records("train"), strict=True):
        assert record.encoded.startswith(b"\xff\xd8")
        with Image.open(io.BytesIO(record.encoded)) as opened:
            np.testing.assert_array_equal(image, np.asarray(opened))
        exact = decode((source / record.path).read_bytes(), dataset.card.policy)
        assert 0 < np.abs(image.astype(int) - exact).mean() < 2


def test_written_copies_are_in_training_alone(source: Path, tmp_path: Path) -> None:
    dataset = make(source, tmp_path, "tfrecord", copies=2, augmentation=POLICY)
    sizes = {split: len(collected(batches(dataset, split, 8))[1]) for split in ("train", "validation", "test")}
    assert sizes == {"train": 36 * 3, "validation": 12, "test": 12}


def test_the_shuffle_holds_a_bounded_number_of_bytes(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = counted(batches(dataset, "train", 8))
    shards = [shard for shard in dataset.card.shards if shard.split == "train"]
    stored = sum(shard.bytes for shard in shards) // sum(shard.num_rows for shard in shards)
    monkeypatch.setattr(data_input, "_SHUFFLED_BYTES", 3 * stored + stored // 2)
    buffers = []
    shuffle = tf.data.Dataset.shuffle

    def noted(self: Any, buffer_size: int, **options: Any) -> Any:
        buffers.append(buffer_size)
        return shuffle(self, buffer_size, **options)

    monkeypatch.setattr(tf.data.Dataset, "shuffle", noted)
    assert counted(batches(dataset, "train", 8, Shuffle(0, 0))) == expected
    assert buffers == [3]


@pytest.mark.parametrize("shard_format", FORMATS)
def test_a_damaged_shard_is_refused_before_the_first_batch(shard_format: str, source: Path, tmp_path: Path) -> None:
    dataset = make(source, tmp_path, shard_format)
    list(batches(dataset, "train", 8))
    path = dataset.shard_paths("train")[1]
    whole = path.read_bytes()
    path.write_bytes(whole[:500] + bytes([whole[500] ^ 4]) + whole[501:])
    with pytest.raises(FormatError, match=f"The shard {path} is damaged"):
        batches(dataset, "train", 8)


def test_an_unknown_split_is_refused(dataset: Dataset) -> None:
    with pytest.raises(InputError, match="no split 'holdout'"):
        batches(dataset, "holdout", 8)


def test_the_stored_hash_is_that_of_the_source_file(dataset: Dataset, source: Path) -> None:
    for record in dataset.records("test"):
        assert record.sha256 == hashlib.sha256((source / record.path).read_bytes()).hexdigest()


@pytest.mark.parametrize(("num_readers", "shuffle"), [(2, None), (7, Shuffle(3, 2))])
def test_readers_share_a_split_without_a_gap_or_an_image_twice(
    num_readers: int, shuffle: Shuffle | None, dataset: Dataset
) -> None:
    readers = [Share(reader, num_readers) for reader in range(num_readers)]
    read = [counted(batches(dataset, "train", 4, shuffle, share=reader)) for reader in readers]
    assert sum(read, Counter()) == counted(batches(dataset, "train", 4))
    assert [found.total() for found in read] == [reader.num_rows(dataset, "train") for reader in readers]
    assert max(found.total() for found in read) <= 1.25 * min(found.total() for found in read) + 1


@pytest.mark.parametrize("share", [WHOLE, Share(1, 2), Share(2, 7)])
def test_images_kept_in_memory_make_the_same_batches_and_their_shards_are_not_read_again(
    share: Share, dataset: Dataset
) -> None:
    kept = keep(dataset, "train", share)
    shuffles = [None, *(Shuffle(3, epoch, policy) for epoch in range(3) for policy in (None, POLICY))]
    expected = [collected(batches(dataset, "train", 4, each, share)) for each in shuffles]
    gone = Dataset(dataset.folder / "gone", dataset.card)
    for each, (images, labels) in zip(shuffles, expected, strict=True):
        found = collected(batches(gone, "train", 4, each, kept))
        np.testing.assert_array_equal(found[0], images)
        np.testing.assert_array_equal(found[1], labels)


def test_images_that_would_fill_the_memory_are_not_kept(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 36 * SIZE[0] * SIZE[1] * 3
    monkeypatch.setattr(data_input, "_KEPT_BYTES", size)
    assert keep(dataset, "train").kept is not None
    monkeypatch.setattr(data_input, "_KEPT_BYTES", size - 1)
    assert keep(dataset, "train").kept is None


@pytest.mark.parametrize(("counts", "whole"), [((5, 4, 5, 4), True), ((5, 4, 5), False), ((9,), False)])
def test_readers_take_whole_shards_unless_one_would_have_much_more_to_read(
    counts: tuple[int, ...], whole: bool, dataset: Dataset
) -> None:
    (first, *_) = [shard for shard in dataset.card.shards if shard.split == "train"]
    shards = tuple(first.model_copy(update={"file": str(n), "num_rows": rows}) for n, rows in enumerate(counts))
    made = Dataset(dataset.folder, dataset.card.model_copy(update={"shards": shards}))
    mine, others = Share(1, 2), Share(0, 2)
    assert mine.takes_shards(made, "train") == whole
    assert [shard.file for shard in mine.shards(made, "train")] == (["1", "3"] if whole else [s.file for s in shards])
    assert mine.num_rows(made, "train") == (8 if whole else sum(counts) // 2)
    assert mine.num_rows(made, "train") + others.num_rows(made, "train") == WHOLE.num_rows(made, "train") == sum(counts)
