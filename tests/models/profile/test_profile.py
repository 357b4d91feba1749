"""The profile that a training leaves beside its bundle, and how it is read."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.errors import FormatError
from darkroom.data.files.hashing import file_sha256
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.npz import write_arrays
from darkroom.models.onnx.inference import split_logits
from darkroom.models.profile.profile import Profile, read_profile, write_profile
from tests.command_line import darkroom


@pytest.fixture(scope="module")
def profile(bundle: Bundle) -> Profile:
    found = read_profile(bundle.folder)
    assert found
    return found


def test_the_facts_of_the_training_images_are_those_of_the_manifest(dataset: Dataset, profile: Profile) -> None:
    rows = [row for row in dataset.manifest().to_pylist() if row["split"] == "train"]
    card, samples = profile.card, profile.samples
    assert card.dataset == dataset.reference
    assert card.num_training == len(rows) == 36
    assert {each.name: each.num_images for each in card.labels} == Counter(row["label"] for row in rows)
    assert {each.name: each.num_images for each in card.formats} == Counter(row["format"] for row in rows)
    found = zip(samples.widths.tolist(), samples.heights.tolist(), samples.brightness.tolist(), strict=True)
    wanted = [(row["width"], row["height"], row["mean_luminance"]) for row in rows]
    assert sorted(found) == sorted(wanted)


def test_the_facts_of_the_validation_images_are_those_of_the_network(
    dataset: Dataset, bundle: Bundle, profile: Profile
) -> None:
    embeddings: list[Any] = []
    logits, truth = split_logits(dataset, "validation", bundle.runner(), embeddings.append)
    chances = bundle.probabilities(logits, "images")
    samples = profile.samples
    assert profile.card.num_validation == len(truth) == 15
    assert samples.confidences.tolist() == chances.max(axis=1).astype(np.float32).tolist()
    assert samples.predicted.tolist() == chances.argmax(axis=1).tolist()
    assert samples.right.tolist() == (chances.argmax(axis=1) == truth).tolist()
    assert samples.embeddings.tobytes() == np.concatenate(embeddings).tobytes()
    given = Counter(bundle.card.labels[place] for place in chances.argmax(axis=1))
    assert {each.name: each.num_images for each in profile.card.predicted if each.num_images} == given


def test_the_limit_is_that_of_the_validation_images(profile: Profile) -> None:
    facts, samples = profile.card.familiarity, profile.samples
    assert facts
    assert profile.familiarity
    assert facts.limit == profile.familiarity.distances(samples.embeddings).max()
    assert samples.unfamiliarity.max() == 1.0
    assert profile.unfamiliarity(samples.embeddings, "fp32").tolist() == samples.unfamiliarity.tolist()


def test_int8_has_a_limit_of_its_own(dataset: Dataset, bundle: Bundle, profile: Profile) -> None:
    embeddings: list[Any] = []
    split_logits(dataset, "validation", bundle.runner("int8"), embeddings.append)
    assert profile.card.familiarity
    assert profile.card.familiarity.int8_limit != profile.card.familiarity.limit
    assert profile.unfamiliarity(np.concatenate(embeddings), "int8").max() == 1.0


def test_an_embedding_that_is_not_finite_is_as_far_as_can_be(profile: Profile) -> None:
    embeddings = profile.samples.embeddings[:2].copy()
    embeddings[1, 0] = np.inf
    found = profile.unfamiliarity(embeddings, "fp32")
    assert found[0] == profile.samples.unfamiliarity[0]
    assert found[1] == np.finfo(np.float32).max


def test_the_profile_is_no_part_of_the_version_or_the_card(bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(bundle.folder, tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "profile")
    assert open_bundle(tmp_path / "model").card == bundle.card
    assert read_profile(tmp_path / "model") is None


def test_the_same_content_gives_the_same_bytes(bundle: Bundle, profile: Profile, tmp_path: Path) -> None:
    write_profile(tmp_path, profile.card, profile.samples, profile.familiarity)
    for name in ("profile.json", "samples.npz"):
        assert (tmp_path / "profile" / name).read_bytes() == (bundle.folder / "profile" / name).read_bytes()


def change_card(folder: Path, **changes: Any) -> None:
    path = folder / "profile" / "profile.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_arrays(folder: Path, **changes: Any) -> None:
    """Write the arrays anew with some of them changed, and the card with their size and hash."""
    path = folder / "profile" / "samples.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    write_arrays(path, **arrays | changes)
    fact = {"file": path.name, "bytes": path.stat().st_size, "sha256": file_sha256(path)}
    change_card(folder, files=[fact])


def infinite_limit(folder: Path) -> None:
    path = folder / "profile" / "profile.json"
    card = json.loads(path.read_text())
    card["familiarity"]["limit"] = float("inf")
    path.write_text(json.dumps(card))


def linked(folder: Path) -> None:
    path = folder / "profile" / "samples.npz"
    path.rename(folder.parent / "elsewhere.npz")
    path.symlink_to(folder.parent / "elsewhere.npz")


def huge(folder: Path) -> None:
    path = folder / "profile" / "samples.npz"
    with path.open("ab") as stream:
        stream.truncate(2**40)
    change_card(folder, files=[{"file": path.name, "bytes": 2**40, "sha256": "0" * 64}])


def cut_short(folder: Path) -> None:
    path = folder / "profile" / "samples.npz"
    path.write_bytes(path.read_bytes()[:-100])


def one_bit(folder: Path) -> None:
    path = folder / "profile" / "samples.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "NaN in a direction": (lambda f: change_arrays(f, directions=np.full((4, 512), np.nan, np.float32)), "directions"),
    "other shape": (lambda f: change_arrays(f, mean=np.zeros(3, np.float32)), "mean"),
    "other type": (lambda f: change_arrays(f, mean=np.array(["x"] * 512)), "mean"),
    "no spread": (lambda f: change_arrays(f, spread=np.zeros(4)), "spread"),
    "a million images": (lambda f: change_arrays(f, widths=np.ones(10**6, np.int32)), "widths"),
    "confidence of 2": (lambda f: change_arrays(f, confidences=np.full(15, 2, np.float32)), "confidences"),
    "label that there is not": (lambda f: change_arrays(f, predicted=np.full(15, 3, np.int32)), "predicted"),
    "embeddings that are a number": (lambda f: change_arrays(f, embeddings=np.float32(1)), "embeddings"),
    "unknown field": (lambda f: change_card(f, more=1), "more"),
    "later version": (lambda f: change_card(f, schema_version=2), "schema version 2"),
    "infinite limit": (infinite_limit, "cannot be read|limit"),
    "another file": (lambda f: change_card(f, files=[]), "does not list samples.npz"),
    "link out of the folder": (linked, "leads out"),
    "terabyte": (huge, "more than 33,554,432 bytes"),
    "cut short": (cut_short, "bytes, not"),
    "one bit": (one_bit, "was changed"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_damaged_or_hostile_profile_is_refused_in_one_sentence(what: str, bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bundle.folder, folder)
    spoil, said = HOSTILE[what]
    spoil(folder)
    with pytest.raises(FormatError, match=said) as raised:
        read_profile(folder)
    assert "\n" not in str(raised.value)


def test_a_command_ends_with_exit_status_2_before_anything_is_scored(
    images: Path, bundle: Bundle, tmp_path: Path
) -> None:
    folder = shutil.copytree(bundle.folder, tmp_path / "model")
    change_arrays(folder, spread=np.zeros(4))
    done = darkroom("score", images / "test", "--model", folder, "--out", tmp_path / "out", folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "is no training profile: its spread cannot be what the card says. Remove that folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
