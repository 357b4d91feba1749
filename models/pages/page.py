"""Pages for people: one HTML file each, pictures inside, no script, nothing fetched from anywhere.

They link to each other, and to nothing else (`darkroom.models.pages.navigation`).

A page is a template in `templates/` that extends `page.html.j2`. Names from outside are escaped, pictures are data
URIs, and the page's own policy lets a browser use nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from darkroom.data.errors import WorkError
from darkroom.data.figures import count, duration, percent
from darkroom.data.files.atomic import atomic_file
from darkroom.models.pages.navigation import NO_LINKS

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Picture:
    """An image inside a page.

    Attributes:
        uri: A data URI.
        width, height: In CSS pixels.
    """

    uri: str
    width: int
    height: int

    @classmethod
    def of_plot(cls, png: bytes) -> Picture:
        """A PNG of `darkroom.models.pages.plots`, at the size that it is drawn for."""
        from darkroom.models.pages import plots

        width, height = plots.css_size(png)
        return cls(data_uri(png, "a plot"), width, height)


def render(template: str, links: str = NO_LINKS, **values: Any) -> str:
    """A page from a template of `templates/`.
    R jinja2.UndefinedError: where a value is missing.

    Args:
        template: The file's name.
        links: The navigation line as HTML, from `darkroom.models.pages.navigation`.
        values: What the page shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["percent"] = percent
    environment.globals.update(count=count, duration=duration)
    style = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
    style_hash = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template(template).render(style=style, style_hash=style_hash, links=links, **values)


def write_page(path: Path, page: str) -> None:
    """Write a page, whole or not at all.

    Args:
        path: The file.
        page: HTML.
    """
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def data_uri(image: bytes, name: str) -> str:
    """An image as a data URI.

    Args:
        image: JPEG or PNG bytes.
        name: The image's, for the message.

    Raises:
        WorkError: where the bytes are neither.
    """
    if image.startswith(b"\xff\xd8\xff"):
        kind = "jpeg"
    elif image.startswith(b"\x89PNG\r\n\x1a\n"):
        kind = "png"
    else:
        raise WorkError(f"The thumbnail of {name} is neither JPEG nor PNG: it starts with {image[:8]!r}.")
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
