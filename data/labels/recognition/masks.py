"""Masks, overlays, heat maps and other pictures made from an image and stored among the images."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from darkroom.data.stores.listing import FileEntry

# BUSI has `benign (1)_mask.png` and `benign (1)_mask_1.png` beside `benign (1).png`.
_NAMED = re.compile(
    r"(?P<image>.+?)[ _.-]*(?:mask|seg|segmentation|gt|ground[ _-]?truth|trimap|matte|annotation|annotated|overlay|"
    r"heat[ _-]?map|contour|thumb|thumbnail|preview|label|lbl|alpha|binary|pred|prediction|silhouette|saliency)s?"
    r"(?:[ _-]?\d+)?$",
    re.IGNORECASE,
)
_FOLDER = re.compile(
    r"(?:.*[ _-])?(?:masks?|segmentation(?:s|class|object)?|seg|gt|"
    r"ground[ _-]?truths?|trimaps?|annotations?|mattes?|overlays?|"
    r"heat[ _-]?maps?|contours?|thumbs?|thumbnails?|previews?)(?:[ _-].*)?",
    re.IGNORECASE,
)


def find_masks(images: Sequence[FileEntry]) -> set[str]:
    """The paths of images that are masks of others: `a_mask.png` beside `a.png`, `masks/a.png` beside `images/a.png`.

    A name alone is not enough: the image that it belongs to must exist.
    """
    stems_in: dict[str, set[str]] = defaultdict(set)
    elsewhere: set[str] = set()
    for entry in images:
        folder, _, name = entry.path.rpartition("/")
        stem = name.rpartition(".")[0] or name
        stems_in[folder].add(stem)
        if not _in_mask_folder(folder):
            elsewhere.add(stem)
    masks = set()
    for entry in images:
        folder, _, name = entry.path.rpartition("/")
        stem = name.rpartition(".")[0] or name
        named = _NAMED.fullmatch(stem)
        if (named and named["image"] in stems_in[folder]) or (
            _in_mask_folder(folder) and (stem in elsewhere or (named and named["image"] in elsewhere))
        ):
            masks.add(entry.path)
    return masks


def _in_mask_folder(folder: str) -> bool:
    return any(_FOLDER.fullmatch(part) for part in folder.split("/"))
