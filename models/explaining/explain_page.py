"""`explain.html`: what a network looks at, on one page, with what each picture shows and the paper it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from darkroom.data.images.pixels.encode import encode_png
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.explaining.views import ImageView, NetworkView
from darkroom.models.pages.page import Picture, data_uri, render
from darkroom.models.pages.panels import Panel


@dataclass(frozen=True)
class ShownImage:
    """An image on the page.

    Attributes:
        name: Of its pictures, without suffix.
        path: The file's, printable.
        given: The label, or labels, that the model gives it, for a person.
        confidence: The probability that they are right.
        truth: Its true label, or labels, where known.
        view: What the network made of it.
    """

    name: str
    path: str
    given: str
    confidence: float
    truth: str | None
    view: ImageView


@dataclass(frozen=True)
class Explanation:
    """All that the page shows.

    Attributes:
        bundle: The network.
        images: Those that could be read.
        network: The network as a whole.
        quarantined: Path and reason of each image that cannot be read.
        generated_by: Command, flow or run that made it.
    """

    bundle: Bundle
    images: tuple[ShownImage, ...]
    network: NetworkView
    quarantined: tuple[tuple[str, str], ...]
    generated_by: str


def explain_page(explanation: Explanation) -> str:
    """The page as HTML, with its pictures inside."""
    return render("explain.html.j2", shown=explanation, card=explanation.bundle.card, picture_of=_picture)


def _picture(panel: Panel) -> Picture:
    height, width = panel.pixels.shape[:2]
    return Picture(data_uri(encode_png(panel.pixels), "a panel"), width, height)
