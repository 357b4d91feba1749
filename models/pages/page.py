"""Pages for people: one HTML file each, pictures inside, nothing fetched from anywhere; a script only to label with.

They link to each other, and to nothing else (`darkroom.models.pages.navigation`).

A page is a template in `templates/` that extends `page.html.j2`. Names from outside are escaped, pictures are data
URIs, and the page's own policy lets a browser use nothing else: of styles and scripts those with the hashes of ours.
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


def render(template: str, links: str = NO_LINKS, own: str | None = None, **values: Any) -> str:
    """A page from a template of `templates/`; a value that is missing raises jinja2.UndefinedError.

    Args:
        template: The file's name.
        links: The navigation line as HTML, from `darkroom.models.pages.navigation`.
        own: Name of a style sheet and a script that the page has beside the common style; None for neither.
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
    style, script = _text("page.css"), ""
    if own:
        style, script = style + _text(f"{own}.css"), _text(f"{own}.js")
    shared = {"style": style, "style_hash": _hash(style), "script": script, "script_hash": _hash(script)}
    return environment.get_template(template).render(**shared, links=links, **values)


def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """SHA-256 of a style or a script, as a content security policy has it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


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
