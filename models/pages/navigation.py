"""The line of links at the top of every page, and which pages of a workspace belong together.

  dataset.html     the reports on this data set, the experiments on it
  report.html      its data set, its explanations, the experiments that gave this model
  explain.html     the same
  experiment.html  its data sets, the report of the best trial's model

A page is written before its neighbours exist, so its line is empty at first; `link_pages` fills it in and keeps it up
to date. Links are relative and lead only to files that exist in the same workspace, which can be moved as a whole.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from darkroom.data.files.atomic import atomic_file
from darkroom.data.files.locks import exclusive
from darkroom.data.stores.workspace import EXPERIMENT_CARD, Workspace
from darkroom.models.pages.fingerprint import MADE_CARD, refresh_made

DATASET_PAGE = "dataset.html"
REPORT_PAGE = "report.html"
REPORT_CARD = "report.json"
EXPLAIN_PAGE = "explain.html"
EXPERIMENT_PAGE = "experiment.html"
# Of the report's own examples; with a suffix, of images that a user named.
EXPLAIN_FOLDER = "explain"
_REPORT_FOLDER = "report"
# A line, not a catalogue: of more reports or experiments on a data set the newest.
_MAX_LINKS = 12
_OPEN, _CLOSE = '<nav aria-label="Related pages">', "</nav>"
_LINE = re.compile(f"{re.escape(_OPEN)}(.*?){_CLOSE}", re.DOTALL)
NO_LINKS = f"{_OPEN}{_CLOSE}"
_ANCHOR = re.compile(r'<a href="([^"]*)">(.*?)</a>')


@dataclass(frozen=True)
class Link:
    """An entry of the navigation line.

    Attributes:
        title: Its text, which may come from outside.
        page: The file that it links to.
    """

    title: str
    page: Path


def navigation(page: Path, links: Sequence[Link]) -> str:
    """The line as HTML, in the order given; the page's own entry is no link.

    Args:
        page: The file that the line is in.
        links: Its entries.
    """
    return f"{_OPEN}{''.join(_item(page, link) for link in links)}{_CLOSE}"


def experiment_navigation(place: Workspace, page: Path, bundle: str, datasets: Iterable[str]) -> str:
    """The line of an experiment's page.

    The pages it links to exist before it does, so it is written with its links, and its card can hold its hash.

    Args:
        place: The workspace.
        page: The experiment's page.
        bundle: `name@version` of the model.
        datasets: `name@version` of each data set.
    """
    name, _, version = bundle.partition("@")
    report = Link(f"Report on {bundle}", place.models / name / version / _REPORT_FOLDER / REPORT_PAGE)
    links = [*_dataset_links(place, datasets), *([report] if report.page.is_file() else [])]
    return navigation(page, [*links, Link("Experiment", page)])


def link_pages(place: Workspace, model: Path) -> list[Path]:
    """Bring the lines of a model's pages and of its data set's page up to date; returns the files that changed.

    Args:
        place: The workspace. A model outside it has only its own pages linked.
        model: The bundle's folder.
    """
    if not model.is_relative_to(place.root):
        return _link_model(model, [], [])
    with exclusive(place.root / ".pages"):
        report = _read(model / _REPORT_FOLDER / REPORT_CARD)
        if not report:
            return []
        dataset = _reference(report["dataset"])
        experiments = _experiments(place)
        mine = [link for link, card in experiments if card["bundle"] == _reference(report["bundle"])]
        changed = _link_model(model, _dataset_links(place, [dataset]), mine)
        return changed + _link_dataset(place, dataset, experiments)


def _link_model(model: Path, before: Sequence[Link], after: Sequence[Link]) -> list[Path]:
    """The report and all explanations of a model."""
    folder = model / _REPORT_FOLDER
    explanations = sorted(folder.glob(f"{EXPLAIN_FOLDER}*/{EXPLAIN_PAGE}"))
    links = [*before, Link("Report", folder / REPORT_PAGE)]
    links += [Link(_explanation_title(page.parent.name), page) for page in explanations]
    links += after
    links = [link for link in links if link.page.is_file()]
    return [file for page in (folder / REPORT_PAGE, *explanations) for file in _set_line(page, links)]


def _explanation_title(folder: str) -> str:
    name = folder.removeprefix(EXPLAIN_FOLDER).strip("-")
    return f"Explanations: {name}" if name else "Explanations"


def _link_dataset(place: Workspace, dataset: str, experiments: Sequence[tuple[Link, dict[str, Any]]]) -> list[Path]:
    """The data set's page; what another machine has linked in a store, and this one has not, stays."""
    ours = _dataset_links(place, [dataset])
    if not ours:
        return []
    page = ours[0].page
    reports = [
        Link(f"Report on {_reference(card['bundle'])}", path.with_name(REPORT_PAGE))
        for path in _newest(place.models.glob(f"*/*/{_REPORT_FOLDER}/{REPORT_CARD}"))
        if (card := _read(path)) and _reference(card["dataset"]) == dataset
    ]
    others = [link for link, card in experiments if dataset in {trial["dataset"] for trial in card["trials"]}]
    links = [link for link in (*reports[:_MAX_LINKS], *others[:_MAX_LINKS]) if link.page.is_file()]
    if place.mirror:
        known = {link.page.resolve() for link in links}
        links += [link for link in _present(page) if link.page.resolve() not in known]
    return _set_line(page, [*ours, *links])


def _experiments(place: Workspace) -> list[tuple[Link, dict[str, Any]]]:
    """All that are done, the newest first, with their cards."""
    cards = _newest(place.root.glob(f"experiments/*/{EXPERIMENT_CARD}"))
    return [
        (Link(f"Experiment {path.parent.name}", path.with_name(EXPERIMENT_PAGE)), card)
        for path in cards
        if (card := _read(path))
    ]


def _set_line(page: Path, links: Sequence[Link]) -> list[Path]:
    """Replace the line where it differs; returns the page and the list of files that holds its hash."""
    if not page.is_file():
        return []
    text = page.read_text(encoding="utf-8")
    line = navigation(page, links)
    changed = _LINE.sub(lambda _: line, text, count=1)
    if changed == text:
        return []
    with atomic_file(page) as temporary:
        temporary.write_text(changed, encoding="utf-8")
    return [page, page.with_name(MADE_CARD)] if refresh_made(page.parent, page.name) else [page]


def _present(page: Path) -> list[Link]:
    """The links of a page whose targets are not on this machine."""
    found = _LINE.search(page.read_text(encoding="utf-8"))
    anchors = _ANCHOR.findall(found[1]) if found else []
    links = [Link(unescape(title), page.parent / unquote(unescape(href))) for href, title in anchors]
    return [link for link in links if not link.page.is_file()]


def _item(page: Path, link: Link) -> str:
    if link.page == page:
        return f'<b aria-current="page">{escape(link.title)}</b>'
    href = quote(os.path.relpath(link.page, page.parent).replace(os.sep, "/"))
    return f'<a href="{escape(href)}">{escape(link.title)}</a>'


def _dataset_links(place: Workspace, datasets: Iterable[str]) -> list[Link]:
    names = [reference.partition("@")[::2] for reference in datasets]
    links = [Link(f"Data set {name}", place.datasets / name / version / DATASET_PAGE) for name, version in names]
    return [link for link in links if link.page.is_file()]


def _reference(value: dict[str, str] | str) -> str:
    """`name@version`, which some cards hold in two fields."""
    return value if isinstance(value, str) else f"{value['name']}@{value['version']}"


def _newest(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: (-path.stat().st_mtime_ns, path))


def _read(path: Path) -> dict[str, Any]:
    """A card, unchecked; empty where there is none or it cannot be read, which its own reader reports."""
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        complete = {"bundle", "dataset"} <= card.keys() or {"bundle", "trials"} <= card.keys()
    except (OSError, ValueError, AttributeError):
        return {}
    return card if complete else {}
