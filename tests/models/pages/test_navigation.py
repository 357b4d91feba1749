"""The links between pages lead to files that exist, and only there; they follow when a page is added or removed."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest

from darkroom.data.stores.workspace import Workspace
from darkroom.models.pages.fingerprint import files_up_to_date, write_fingerprint
from darkroom.models.pages.navigation import NO_LINKS, Link, experiment_navigation, link_pages, navigation


def write_model(place: Workspace, reference: str, dataset: str = "pets@d1") -> Path:
    """A model's folder with a report and the explanations of a run, as far as links are concerned."""
    (name, version), (data, data_version) = reference.split("@"), dataset.split("@")
    folder = place.model(name, version)
    write(folder / "report/report.html")
    write(folder / "report/explain/explain.html")
    bundle, judge = {"name": name, "version": version}, {"name": data, "version": data_version}
    (folder / "report/report.json").write_text(json.dumps({"bundle": bundle, "dataset": judge}))
    write_fingerprint(folder / "report", "its bundle", ["report.html", "report.json"])
    return folder


def write_experiment(place: Workspace, bundle: str) -> Path:
    page = place.experiment("pets", "e1") / "experiment.html"
    write(page)
    page.with_suffix(".json").write_text(json.dumps({"bundle": bundle, "trials": [{"dataset": "pets@d1"}]}))
    return page


def write(page: Path) -> Path:
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(f"<body>\n{NO_LINKS}\n<p>犬</p></body>", encoding="utf-8")
    return page


def links_of(page: Path) -> dict[str, Path | None]:
    """Title to target of the line of links; None where it is the page itself."""
    (line,) = re.findall(r"<nav [^>]*>(.*?)</nav>", page.read_text(encoding="utf-8"))
    items = re.findall(r'<a href="([^"]*)">(.*?)</a>|<b aria-current="page">(.*?)</b>', line)
    assert "".join(f'<a href="{h}">{t}</a>' if h else f'<b aria-current="page">{b}</b>' for h, t, b in items) == line
    found = {}
    for href, title, own in items:
        assert not href.startswith(("/", "http", "file"))
        found[unescape(title or own)] = (page.parent / unquote(unescape(href))).resolve() if href else None
    return found


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    place = Workspace(tmp_path.resolve() / "workspace")
    write(place.dataset("pets", "d1") / "dataset.html")
    return place


def test_all_pages_of_a_model_lead_to_each_other_and_to_its_data_set(place: Workspace) -> None:
    model = write_model(place, "pets-starter@m1")
    data = place.dataset("pets", "d1") / "dataset.html"
    report, explanations = model / "report/report.html", model / "report/explain/explain.html"
    changed = link_pages(place, model)
    assert links_of(report) == {"Data set pets": data, "Report": None, "Explanations": explanations}
    assert links_of(explanations) == {"Data set pets": data, "Report": report, "Explanations": None}
    assert links_of(data) == {"Data set pets": None, "Report on pets-starter@m1": report}
    assert set(changed) == {report, report.with_name("made.json"), explanations, data}
    assert "犬" in report.read_text(encoding="utf-8")


def test_links_survive_a_move_of_the_workspace(place: Workspace, tmp_path: Path) -> None:
    link_pages(place, write_model(place, "pets-starter@m1"))
    moved = tmp_path / "elsewhere"
    place.root.rename(moved)
    for page in moved.rglob("*.html"):
        for target in links_of(page).values():
            assert target is None or target.is_file()


def test_nothing_is_written_where_the_links_are_as_they_should_be(place: Workspace) -> None:
    model = write_model(place, "pets-starter@m1")
    link_pages(place, model)
    before = {path: path.stat().st_mtime_ns for path in place.root.rglob("[a-z]*.*")}
    assert link_pages(place, model) == []
    assert {path: path.stat().st_mtime_ns for path in place.root.rglob("[a-z]*.*")} == before


def test_a_linked_report_still_counts_as_made_and_a_damaged_one_does_not(place: Workspace) -> None:
    model = write_model(place, "pets-starter@m1")
    (model / "report/report.json").write_text((model / "report/report.json").read_text() + " ")
    link_pages(place, model)
    assert files_up_to_date(model / "report", "its bundle") == ()
    model = write_model(place, "pets-starter@m2")
    link_pages(place, model)
    assert files_up_to_date(model / "report", "its bundle") == ("report.html", "report.json")


def test_a_data_set_leads_to_every_report_that_is_still_there(place: Workspace) -> None:
    first, second = (write_model(place, f"pets-starter@{version}") for version in ("m1", "m2"))
    write_model(place, "pets-starter@m3", dataset="others@d1")
    link_pages(place, second)
    data = place.dataset("pets", "d1") / "dataset.html"
    assert set(links_of(data)) == {"Data set pets", "Report on pets-starter@m1", "Report on pets-starter@m2"}
    shutil.rmtree(first)
    link_pages(place, second)
    assert set(links_of(data)) == {"Data set pets", "Report on pets-starter@m2"}


def test_images_that_a_user_explains_are_a_page_of_their_own(place: Workspace) -> None:
    model = write_model(place, "pets-starter@m1")
    own = write(model / "report/explain-tom-0a1b2c3d4e5f/explain.html")
    link_pages(place, model)
    assert list(links_of(own)) == ["Data set pets", "Report", "Explanations", "Explanations: tom-0a1b2c3d4e5f"]
    assert links_of(own)["Explanations"] == model / "report/explain/explain.html"
    assert links_of(model / "report/report.html")["Explanations: tom-0a1b2c3d4e5f"] == own


def test_an_experiment_is_written_with_its_links_and_its_neighbours_lead_back(place: Workspace) -> None:
    model = write_model(place, "pets-starter@m1")
    page = write_experiment(place, "pets-starter@m1")
    line = experiment_navigation(place, page, "pets-starter@m1", ["pets@d1", "gone@d9"])
    page.write_text(line, encoding="utf-8")
    report, data = model / "report/report.html", place.dataset("pets", "d1") / "dataset.html"
    assert links_of(page) == {"Data set pets": data, "Report on pets-starter@m1": report, "Experiment": None}
    link_pages(place, model)
    assert links_of(report)["Experiment pets-e1"] == page
    assert links_of(data)["Experiment pets-e1"] == page
    assert page.read_text(encoding="utf-8") == line


def test_without_a_data_set_or_a_report_no_link_is_dead(place: Workspace) -> None:
    shutil.rmtree(place.datasets)
    model = write_model(place, "pets-starter@m1")
    link_pages(place, model)
    assert list(links_of(model / "report/report.html")) == ["Report", "Explanations"]
    shutil.rmtree(model)
    assert link_pages(place, model) == []


def test_a_model_outside_the_workspace_has_its_own_pages_linked_and_no_others(place: Workspace, tmp_path: Path) -> None:
    inside = write_model(place, "pets-starter@m1")
    outside = inside.rename(tmp_path.resolve() / "copied")
    link_pages(place, outside)
    assert list(links_of(outside / "report/report.html")) == ["Report", "Explanations"]
    assert list(links_of(place.dataset("pets", "d1") / "dataset.html")) == []


def test_a_page_of_an_earlier_version_without_a_line_is_left_alone(place: Workspace) -> None:
    model = write_model(place, "pets-starter@m1")
    (model / "report/report.html").write_text("<p>old</p>")
    link_pages(place, model)
    assert (model / "report/report.html").read_text() == "<p>old</p>"


def test_titles_are_text_and_addresses_are_quoted(tmp_path: Path) -> None:
    line = navigation(tmp_path / "page.html", [Link('<script>"', tmp_path / 'a b"<c>#?.html')])
    assert line.count("<") == 4
    page = tmp_path / "page.html"
    page.write_text(line, encoding="utf-8")
    assert links_of(page) == {'<script>"': (tmp_path / 'a b"<c>#?.html').resolve()}
