"""`--quality`: architecture, image size and fine-tuning by one word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from darkroom.data.dataset.dataset import open_dataset
from darkroom.data.errors import SettingError
from darkroom.data.stores.workspace import Workspace
from darkroom.flows.recipe import merged
from darkroom.models.networks.architectures import describe
from darkroom.models.networks.efficientnet_lite import LITE0, LITE2

QualityName = Literal["fast", "balanced", "best"]

# What each sets in place of a recipe's own settings; an option that is given counts above it.
_PRESETS: Mapping[QualityName, Mapping[str, Any]] = {
    "fast": {
        "policy": {"image_size": describe(LITE0).image_size},
        "train": {"model": LITE0, "weights": "imagenet", "fine_tune_blocks": 0, "flip_average": False},
    },
    "balanced": {},
    "best": {
        "policy": {"image_size": describe(LITE2).image_size},
        "train": {"model": LITE2, "weights": "imagenet"},
    },
}
# Two words for one thing would contradict each other.
_CHOSEN = {"model": "architecture", "weights": "weights"}


def with_quality(quality: QualityName | None, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that options stand for, with those of a quality below them; nothing is added where none is given.

    Args:
        quality: As given, or None.
        changes: Settings, nested as in a recipe, under their stored names.

    Raises:
        SettingError: where there is no such quality, or an architecture or weights are given as well.
    """
    preset = _preset(quality)
    for name in _CHOSEN.keys() & preset.get("train", {}).keys() & changes.get("train", {}).keys():
        raise SettingError(
            f"--quality {quality} chooses {preset['train']['model']} with ImageNet weights: leave out "
            f"--{_CHOSEN[name]}, or --quality."
        )
    return merged(preset, changes)


def check_image_size(quality: QualityName | None, dataset: str, place: Workspace) -> None:
    """Check that the images of a data set are large enough for a quality: their size was decided when it was made.

    Args:
        quality: As given, or None.
        dataset: A name (newest version), name@version, or a path.
        place: The workspace.

    Raises:
        InputError: where there is no such data set.
        SettingError: where its images are smaller.
    """
    wanted = _preset(quality).get("policy", {}).get("image_size")
    if wanted is None:
        return
    card = open_dataset(place.find_dataset(dataset)).card
    height, width = card.policy.image_size
    if height * width < wanted[0] * wanted[1]:
        raise SettingError(
            f"--quality {quality} takes images of {wanted[0]} x {wanted[1]}, those of {card.name}@{card.version} are "
            f"{height} x {width}. Ingest the source again with --image-size {wanted[0]}, or leave out --quality."
        )


def _preset(quality: QualityName | None) -> Mapping[str, Any]:
    if quality is None:
        return {}
    if quality not in _PRESETS:
        raise SettingError(f"There is no quality {quality!r}. Use {', '.join(_PRESETS)}.")
    return _PRESETS[quality]
