"""The version in use: what is blessed meanwhile takes its place, and what cannot be loaded does not."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from darkroom.data.images.crash_recovery import decode_unwatched
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle.blessed import promote
from darkroom.models.bundle.imagenet import find_bundle
from darkroom.models.serving.batcher import OverloadError
from darkroom.models.serving.served import ServeRequest, Service
from darkroom.models.serving.settings import ServeSettings
from tests.bundles import tiny_bundle


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """A workspace with two versions of a model, of which the first is blessed."""
    found = Workspace(tmp_path)
    tiny_bundle(found.models / "colours/1", ["amber", "blue"], (8, 8))
    shutil.copytree(found.models / "colours/1", found.models / "colours/2")
    promote(found.models / "colours/1", found, "the first", None)
    return found


def serving(place: Workspace, reference: str) -> Service:
    settings = ServeSettings(gather_ms=0)
    return Service(ServeRequest(lambda: find_bundle(reference, place), decode_unwatched, settings, num_threads=1))


def test_what_is_blessed_meanwhile_takes_over_and_the_version_before_finishes(place: Workspace) -> None:
    service = serving(place, "colours@blessed")
    before = service.current
    assert before.bundle.folder.name == "1"
    assert not service.follow()
    assert service.current is before
    promote(place.models / "colours/2", place, "better", None)
    futures = before.submit([("a", b"no image")])
    assert service.follow()
    assert service.current.bundle.folder.name == "2"
    assert futures[0].result(30)["reason"] == "not_an_image"
    with pytest.raises(OverloadError):
        before.submit([("a", b"")])
    service.close()


def test_a_version_that_was_named_stays(place: Workspace) -> None:
    service = serving(place, "colours@2")
    promote(place.models / "colours/2", place, "better", None)
    assert not service.follow()
    assert service.current.bundle.folder.name == "2"
    service.close()


def test_a_version_that_cannot_be_loaded_is_told_once_and_tried_again_when_another_is_blessed(
    place: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    service = serving(place, "colours")
    promote(place.models / "colours/2", place, "better", None)
    network = place.models / "colours/2/model.onnx"
    whole = network.read_bytes()
    network.write_bytes(whole[:-100])
    with caplog.at_level(logging.ERROR):
        assert not service.follow()
        assert not service.follow()
    assert service.current.bundle.folder.name == "1"
    assert service.num_failures == 1
    said = [record.getMessage() for record in caplog.records if record.name == "darkroom.models.serving.served"]
    assert [str(network) in each for each in said] == [True]
    shutil.rmtree(place.models / "colours/2")
    with caplog.at_level(logging.ERROR):
        assert not service.follow()  # the blessed version is gone
    assert service.num_failures == 2
    tiny_bundle(place.models / "colours/3", ["amber", "blue"], (8, 8))
    promote(place.models / "colours/3", place, "whole", None)
    assert service.follow()
    assert service.current.bundle.folder.name == "3"
    service.close()
