"""The page to label on, as a person uses it: keys pressed in a browser, and the CSV that it saves."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from darkroom.data.labels.corrections import EXCLUDE
from darkroom.data.labels.label_cells import SeveralLabels
from darkroom.models.labelling.label_page import LabelPage, PageItem, write_label_page
from tests.browser import Page, opened

HOSTILE = 'a "</script><script>document.title=1</script>,=1+1.jpg'
PATHS = ["one.jpg", HOSTILE, "drei, ä.jpg", "four.jpg", "five.jpg", "six.jpg"]
CLASSES = ["cat", "dog", "<i>eel</i>", *(f"class {number}" for number in range(4, 51))]


def jpeg() -> bytes:
    stream = BytesIO()
    Image.new("RGB", (40, 30), (200, 90, 10)).save(stream, "JPEG")
    return stream.getvalue()


def item(path: str) -> PageItem:
    return PageItem(path, jpeg(), ("dog",), (("dog", 0.6), ("cat", 0.4)), "uncertain", given=("cat",))


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    content = LabelPage("What to <b>label</b>", ["About it."], CLASSES, list(map(item, PATHS)))
    write_label_page(tmp_path / "label.html", content)
    with opened(tmp_path / "label.html", tmp_path / "browser") as shown:
        yield shown


def saved(page: Page) -> list[dict[str, str]]:
    page.press("s", ctrl=True)
    with page.saved("labels-*.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_keys_label_clear_undo_and_exclude_and_the_csv_says_so(page: Page) -> None:
    page.value("document.getElementById('by').value = 'Ann, \"A\"'")
    page.press("1", "Enter", " ", "Delete")  # cat; dog as suggested; cat as given; not usable
    page.press("3", "Backspace")  # the sixth is next: back and forth
    page.press("ArrowLeft", "Backspace", "2")
    page.press("2")
    page.press("z", ctrl=True)
    rows = saved(page)
    assert [row["path"] for row in rows] == PATHS[:5]
    assert [row["label"] for row in rows] == ["cat", "dog", "cat", EXCLUDE, "dog"]
    assert {row["by"] for row in rows} == {'Ann, "A"'}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row["when"]) for row in rows)
    assert page.value("document.getElementById('progress').value") == 5


def test_the_filter_finds_one_of_many_classes_and_adds_a_new_one(page: Page) -> None:
    page.press("/", *"class 47", "Enter")
    page.press("/", *"unicorn", "Enter")
    assert page.value("document.activeElement.tagName") == "BODY"
    page.press("ArrowLeft")
    page.value("document.getElementById('note').value = 'a horn; \"white\"'")
    page.value("document.getElementById('note').dispatchEvent(new Event('input'))")
    rows = saved(page)
    assert [(row["path"], row["label"], row["note"]) for row in rows] == [
        (PATHS[0], "class 47", ""),
        (PATHS[1], "unicorn", 'a horn; "white"'),
    ]


def test_choices_are_still_there_when_the_page_is_opened_again(page: Page) -> None:
    page.press("1", "2")
    page.call("Page.navigate", url="about:blank")
    page.call("Page.navigate", url=page.address)
    page.wait()
    assert [row["label"] for row in saved(page)] == ["cat", "dog"]


def test_a_hostile_name_is_text_and_nothing_else(page: Page) -> None:
    page.press("ArrowRight")
    assert page.value("document.getElementById('path').textContent") == HOSTILE
    assert page.value("document.title") == "What to <b>label</b>"
    assert page.value("document.querySelectorAll('h1 b, .class i, script').length") == 2  # the data and the script
    assert page.value("document.getElementById('picture').naturalWidth") == 40


def test_a_button_that_the_keyboard_reached_is_pressed_by_it(page: Page) -> None:
    page.value("document.getElementById('next').focus()")
    page.press(" ")
    assert page.value("document.getElementById('place').textContent").startswith("2 /")
    assert saved(page) == []


@pytest.fixture
def checkboxes(tmp_path: Path) -> Iterator[Page]:
    """Five images with the given labels cat and eel, for which dog and eel are suggested."""
    classes = ["cat", "dog", "eel", "hot, spicy"]
    items = [
        PageItem(path, jpeg(), ("dog", "eel"), (("dog", 0.6), ("cat", 0.4)), "uncertain", given=("cat", "eel"))
        for path in PATHS[:5]
    ]
    write_label_page(tmp_path / "label.html", LabelPage("Several", ["About it."], classes, items, "multi-label"))
    with opened(tmp_path / "label.html", tmp_path / "browser") as shown:
        yield shown


def boxes(page: Page) -> list[str]:
    """The labels that are checked."""
    found: list[str] = page.value(
        "[...document.querySelectorAll('#classes [role=checkbox][aria-checked=true]')].map(box => box.dataset.label)"
    )
    return found


def test_several_labels_are_checked_by_keys_and_the_csv_is_what_ingest_takes_in(checkboxes: Page) -> None:
    assert boxes(checkboxes) == ["dog", "eel"]  # as suggested
    checkboxes.press("Enter")  # as they are
    checkboxes.press("1", "2")  # cat too, and no dog: the page stays
    assert boxes(checkboxes) == ["cat", "eel"]
    checkboxes.press("z", ctrl=True)
    assert boxes(checkboxes) == ["cat", "dog", "eel"]
    checkboxes.press("4", "Enter")
    checkboxes.press(" ", "-", "Delete")  # the third as given, the fourth with none, the fifth not usable
    rows = saved(checkboxes)
    assert [row["path"] for row in rows] == PATHS[:5]
    cells = [row["label"] for row in rows]
    assert cells == ["dog|eel", '["cat","dog","eel","hot, spicy"]', "cat|eel", "[]", EXCLUDE]
    read = SeveralLabels()
    assert [read.of_correction(cell) for cell in cells[:4]] == ["dog|eel", "cat|dog|eel|hot, spicy", "cat|eel", ""]


def test_a_checkbox_is_reached_by_tab_checked_by_space_and_keeps_the_focus(checkboxes: Page) -> None:
    checkboxes.value("document.querySelector('#classes [data-label=cat]').focus()")
    checkboxes.press(" ")
    assert boxes(checkboxes) == ["cat", "dog", "eel"]
    assert checkboxes.value("document.activeElement.dataset.label") == "cat"
    checkboxes.press(" ", "Enter")
    assert checkboxes.value("document.getElementById('place').textContent").startswith("2 /")
    assert [row["label"] for row in saved(checkboxes)] == ["dog|eel"]


def test_a_new_label_is_added_to_those_that_are_checked(checkboxes: Page) -> None:
    checkboxes.press("/", *"fox", "Enter")
    assert boxes(checkboxes) == ["dog", "eel", "fox"]
    checkboxes.press("/", *"a|b", "Enter")
    assert not checkboxes.value("document.getElementById('warning').hidden")
    assert [row["label"] for row in saved(checkboxes)] == ["dog|eel|fox"]
