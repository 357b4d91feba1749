"""`explain.html`: what a network looks at, on one page, with what each picture shows and the paper it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from darkroom.data.images.encode import encode_png
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.explaining.views import ImageView, NetworkView
from darkroom.models.pages.page import Picture, data_uri, render
from darkroom.models.pages.panels import Panel


@dataclass(frozen=True)
class ShownImage:
    """An image on the page: the name of its pictures, its path, its label where it is known, what the network did."""

    name: str
    path: str
    truth: str | None
    view: ImageView


@dataclass(frozen=True)
class Explanation:
    """All that the page shows; `set_aside` are paths and reasons of images that cannot be read."""

    bundle: Bundle
    images: tuple[ShownImage, ...]
    network: NetworkView
    set_aside: tuple[tuple[str, str], ...]
    generated_by: str


def explain_page(explanation: Explanation) -> str:
    """The page as HTML, pictures inside."""
    return render("explain.html.j2", shown=explanation, card=explanation.bundle.card, picture_of=_picture)


def _picture(panel: Panel) -> Picture:
    height, width = panel.pixels.shape[:2]
    return Picture(data_uri(encode_png(panel.pixels), "a panel"), width, height)
