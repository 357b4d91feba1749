"""References to data sets and bundles, and names that are one plain folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from darkroom.data.errors import FormatError, InputError, SettingError
from darkroom.data.stores.workspace import Workspace, check_name, name_from


def card(path: Path, when: int) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    os.utime(path, ns=(when, when))
    return path.parent


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "w")


def test_a_name_is_the_newest_version_and_a_version_can_be_asked_for(workspace: Workspace) -> None:
    old = card(workspace.dataset("cats", "aaa") / "dataset.json", 1000)
    new = card(workspace.dataset("cats", "000") / "dataset.json", 2000)
    card(workspace.dataset("cats-2", "bbb") / "dataset.json", 3000)
    model = card(workspace.model("cats", "ccc") / "bundle.json", 4000)
    assert workspace.find_dataset("cats") == new
    assert workspace.find_dataset("cats@aaa") == old
    assert workspace.find_model("cats") == model


def test_what_is_not_finished_or_being_made_is_no_version(workspace: Workspace) -> None:
    done = card(workspace.dataset("cats", "aaa") / "dataset.json", 1000)
    card(workspace.datasets / "cats" / ".tmp-1234" / "dataset.json", 9000)
    (workspace.dataset("cats", "bbb")).mkdir()
    assert workspace.find_dataset("cats") == done
    with pytest.raises(InputError, match="cats has no version 'bbb'"):
        workspace.find_dataset("cats@bbb")


def test_a_path_to_a_folder_with_a_card_is_found(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = card(workspace.root.parent / "elsewhere" / "dataset.json", 1000)
    assert workspace.find_dataset(str(folder)) == folder
    monkeypatch.chdir(folder.parent)
    assert workspace.find_dataset("elsewhere") == folder
    assert workspace.find_dataset("./elsewhere/") == folder


@pytest.mark.parametrize("typed", ["photos/", "./photos", "./photos/", "photos@aaa/"])
def test_a_name_as_a_shell_completes_a_folder_of_images_is_the_data_set_which_is_said(
    typed: str,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = card(workspace.dataset("photos", "aaa") / "dataset.json", 1000)
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")
    assert workspace.find_dataset(typed) == folder
    assert ("photos@aaa" in caplog.text) == Path(typed).is_dir()
    caplog.clear()
    (tmp_path / "photos").rmdir()
    workspace.find_dataset(typed)
    assert caplog.text == ""


def test_the_names_of_models_are_those_with_a_finished_version(workspace: Workspace) -> None:
    assert workspace.model_names() == []
    for name, version in (("dogs", "1"), ("cats", "1"), ("cats", "2"), ("birds", ".tmp-1")):
        card(workspace.models / name / version / "bundle.json", 1000)
    assert workspace.model_names() == ["cats", "dogs"]


def test_what_is_not_there_is_said_with_what_is_and_what_to_do(workspace: Workspace) -> None:
    with pytest.raises(InputError) as nothing:
        workspace.find_dataset("cats")
    assert str(nothing.value) == (
        f"There is no data set 'cats' in {workspace.datasets}. Create one with: darkroom ingest SOURCE --name NAME"
    )
    card(workspace.dataset("dogs", "aaa") / "dataset.json", 1000)
    card(workspace.dataset("dogs", "bbb") / "dataset.json", 1000)
    with pytest.raises(InputError, match=r"There are: dogs\. .*darkroom ingest"):
        workspace.find_dataset("cats")


@pytest.mark.parametrize(
    "reference",
    ["", ".", "..", "../w", "../../etc/passwd", "/etc", "a/b", "cats@../x", "@", "@aaa", "a\0b", "x" * 5000, "*", "c*",
     "cats@*", "[a-z]*", "~", "\udce9"],
)  # fmt: skip
def test_a_hostile_reference_is_refused_in_a_sentence(reference: str, workspace: Workspace) -> None:
    card(workspace.dataset("cats", "aaa") / "dataset.json", 1000)
    with pytest.raises(InputError, match="There is no data set"):
        workspace.find_dataset(reference)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-rf", "a/b", "a\\b", "a b", "a\0", "a\n", "é", "x" * 101, "../up", "a@b"]
)
def test_a_name_that_is_not_one_plain_folder_is_refused(name: str, workspace: Workspace) -> None:
    for use in (check_name, lambda name: workspace.dataset(name, "v"), lambda name: workspace.model(name, "v")):
        with pytest.raises(SettingError, match="cannot be a name: use letters"):
            use(name)


@settings(deadline=None)
@given(st.text())
@example("x" * 500)
@example("/data/..")
def test_a_name_made_from_any_source_is_valid(text: str) -> None:
    assert check_name(name_from(text)) == name_from(text)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/data/cats and dogs/", "cats-and-dogs"),
        ("x/Flowers.v2.tar.gz", "Flowers.v2"),
        ("photos.ZIP", "photos"),
        ("kaggle:owner/chest-xray", "chest-xray"),
        ("sample:digits", "digits"),
        ("…", "dataset"),
    ],
)
def test_a_name_made_from_a_source_is_what_one_would_call_it(source: str, name: str) -> None:
    assert name_from(source) == name


def test_the_paths_are_those_of_the_design(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert workspace.dataset("cats", "v") == tmp_path / "datasets" / "cats" / "v"
    assert workspace.model("cats", "v") == tmp_path / "models" / "cats" / "v"
    assert (workspace.sources, workspace.scores) == (tmp_path / "sources", tmp_path / "scores")


def test_blessed_is_the_version_that_the_pointer_names_and_not_the_newest(workspace: Workspace) -> None:
    old = card(workspace.model("cats", "aaa") / "bundle.json", 1000)
    new = card(workspace.model("cats", "bbb") / "bundle.json", 2000)
    workspace.blessed_card("cats").write_text('{"schema_version": 1, "current": "aaa"}')
    assert workspace.find_model("cats@blessed") == old
    assert workspace.find_model("cats@bbb") == new


def choose(workspace: Workspace, reference: str) -> tuple[str, str, str | None, str | None]:
    """The version, by what it was chosen, and what was blessed and newest then."""
    found = workspace.choose_model(reference)
    return found.folder.name, found.choice.by, found.choice.blessed, found.choice.newest


def test_a_bare_name_is_the_blessed_version_and_the_newest_where_none_is(workspace: Workspace) -> None:
    card(workspace.model("cats", "aaa") / "bundle.json", 1000)
    newest = card(workspace.model("cats", "bbb") / "bundle.json", 2000)
    assert choose(workspace, "cats") == ("bbb", "newest", None, "bbb")
    assert workspace.choose_model("cats").choice.reason == "the newest version; none is blessed"
    workspace.blessed_card("cats").write_text('{"schema_version": 1, "current": "aaa"}')
    assert choose(workspace, "cats") == ("aaa", "blessed", "aaa", "bbb")
    assert choose(workspace, "cats@blessed") == choose(workspace, "./cats/") == choose(workspace, "cats")
    assert workspace.choose_model("cats").choice.reason == "the blessed version; the newest is bbb"
    assert choose(workspace, "cats@newest") == ("bbb", "newest", "aaa", "bbb")
    assert workspace.choose_model("cats@newest").choice.reason == "the newest version; aaa is blessed"
    assert choose(workspace, "cats@bbb") == ("bbb", "version", None, None)
    assert choose(workspace, str(newest)) == ("bbb", "path", None, None)
    assert workspace.choose_model("cats", bare="newest").folder == newest
    workspace.blessed_card("cats").write_text('{"schema_version": 1, "current": "bbb"}')
    assert workspace.choose_model("cats").choice.reason == "the blessed version"
    assert workspace.choose_model("cats@newest").choice.reason == "the newest version"


def test_a_bare_name_is_not_the_newest_where_what_is_blessed_is_gone_or_unreadable(workspace: Workspace) -> None:
    card(workspace.model("cats", "bbb") / "bundle.json", 2000)
    workspace.blessed_card("cats").write_text('{"schema_version": 1, "current": "aaa"}')
    with pytest.raises(InputError, match=r"blessed version aaa of cats .* darkroom rollback cats"):
        workspace.find_model("cats")
    workspace.blessed_card("cats").write_text("?")
    with pytest.raises(FormatError, match=r"blessed\.json is damaged"):
        workspace.find_model("cats")
    assert workspace.find_model("cats@bbb").name == "bbb"


@pytest.mark.parametrize("reference", ["dogs", "dogs@newest", "dogs@blessed", "dogs@aaa"])
def test_a_model_that_is_not_there_is_named(workspace: Workspace, reference: str) -> None:
    card(workspace.model("cats", "aaa") / "bundle.json", 1000)
    with pytest.raises(InputError, match=r"There is no model 'dogs.* There are: cats"):
        workspace.find_model(reference)


def test_where_nothing_is_blessed_the_sentence_says_what_to_do(workspace: Workspace) -> None:
    card(workspace.model("cats", "aaa") / "bundle.json", 1000)
    with pytest.raises(InputError) as nothing:
        workspace.find_model("cats@blessed")
    assert "darkroom evaluate cats" in str(nothing.value)
    assert str(nothing.value).endswith("darkroom promote cats@aaa")
    with pytest.raises(InputError, match="There is no model 'dogs'"):
        workspace.find_model("dogs@blessed")


def test_no_name_can_be_taken_for_a_reference_to_what_is_blessed() -> None:
    with pytest.raises(SettingError, match="cannot be a name"):
        check_name("cats@blessed")
