"""The page on which a person labels images: one HTML file that works without a network and saves a CSV.

Its template is `label.html.j2`, its script `label.js`. What it saves has the columns `path`, `label`, `by`, `when` and
`note`, and `darkroom ingest --corrections` takes it in. Where an image may have several labels, each is a checkbox, and
`label` holds all of them: `a|b`, or a JSON list where a name is more than one plain word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from darkroom.data.errors import ImageError
from darkroom.data.files.hashing import content_version
from darkroom.data.images.decode import decode
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.images.pixels.encode import encode_jpeg
from darkroom.data.labels.corrections import EXCLUDE
from darkroom.data.task import TaskName
from darkroom.models.pages.page import data_uri, render, write_page

LABEL_PAGE = "label.html"
_SIDE = 400
_QUALITY = 82
_GREY = (244, 244, 244)


@dataclass(frozen=True)
class PageItem:
    """An image to be labelled.

    Attributes:
        path: As the CSV names it.
        picture: JPEG or PNG bytes; None where there is none to show.
        suggested: The labels that the model proposes: one, or any number.
        top: Probable labels with their probabilities.
        why: One sentence on why it is shown.
        given: The labels that it has; None for an unlabelled image.
    """

    path: str
    picture: bytes | None
    suggested: tuple[str, ...]
    top: tuple[tuple[str, float], ...]
    why: str
    given: tuple[str, ...] | None = None


@dataclass(frozen=True)
class LabelPage:
    """What the page shows.

    Attributes:
        title: Its heading.
        about: Sentences below it.
        classes: What an image may be, in the order of their keys.
        items: The images, in the order in which they are shown.
        task: Whether an image gets one label or any number.
    """

    title: str
    about: Sequence[str]
    classes: Sequence[str]
    items: Sequence[PageItem]
    task: TaskName = "single-label"


def write_label_page(path: Path, page: LabelPage) -> None:
    """Write the page, whole or not at all.

    Args:
        path: The file.
        page: What it shows.

    Raises:
        WorkError: where a picture is neither JPEG nor PNG.
    """
    several = page.task == "multi-label"
    shown = [
        {
            "path": item.path,
            "picture": data_uri(item.picture, item.path) if item.picture else "",
            "suggested": list(item.suggested),
            "top": [[label, round(probability, 4)] for label, probability in item.top],
            "why": item.why,
            "given": item.given if item.given is None else list(item.given),
        }
        for item in page.items
    ]
    # Choices that a browser keeps belong to these images and classes, wherever the page lies.
    task = [page.task] if several else []
    version = content_version(page.title, list(page.classes), [item.path for item in page.items], *task)
    data = {
        "id": version,
        "classes": list(page.classes),
        "several": several,
        "items": shown,
        "exclude": EXCLUDE,
        "file": f"labels-{version}.csv",
    }
    about = list(page.about)
    write_page(path, render("label.html.j2", own="label", title=page.title, about=about, data=data, several=several))


def page_picture(data: bytes, policy: DecodePolicy) -> bytes | None:
    """A JPEG to label by, undistorted and upright; None where the file cannot be decoded.

    Args:
        data: The file's bytes.
        policy: How a model sees it; the picture differs from that in size and in that its sides keep their ratio.
    """
    shown = policy.model_copy(
        update={"image_size": (_SIDE, _SIDE), "resize": "pad", "padding": _GREY, "interpolation": "bilinear"}
    )
    try:
        return encode_jpeg(Image.fromarray(decode(data, shown)), _QUALITY)
    except ImageError:
        return None
