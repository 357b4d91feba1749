"""`list`, `history` and `clean`: what there is, what made what, and that nothing goes that something depends on."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from darkroom.data.errors import FormatError, InputError, SettingError
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest.request import IngestSettings
from darkroom.data.stores.version_locks import in_use
from darkroom.data.stores.workspace import BUNDLE_CARD, Workspace
from darkroom.flows.ingest import ingest
from darkroom.flows.inventory import clean, history, list_entries
from darkroom.flows.score import score
from darkroom.flows.score_inbox import score_inbox
from darkroom.models.bundle.blessed import promote
from darkroom.models.bundle.bundle import open_bundle, write_card
from darkroom.models.inventory import cleaning
from tests.bundles import tiny_bundle
from tests.command_line import call, in_process
from tests.datasets import write_images

SIDE = (16, 16)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions of a data set, the images, and a model."""
    root = tmp_path_factory.mktemp("made")
    images = write_images(root / "images" / "colours")
    for index, resize in enumerate(("stretch", "pad", "crop")):
        policy = DecodePolicy.model_validate({"image_size": SIDE, "resize": resize})
        settings = IngestSettings(name="colours", policy=policy)
        result = ingest.plain(str(images), settings, max_judged=0, workspace=str(root / "workspace"))
        os.utime(Path(result.folder) / "dataset.json", (1_700_000_000 + index,) * 2)
    tiny_bundle(root / "tiny", ["blue", "red"], SIDE)
    return root


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Workspace:
    """Four versions of the model `tiny`: `a` made a table, `b` and then `d` were blessed, and nothing needs `c`.

    `a` was trained on the oldest version of the data set, the others on the newest.
    """
    shutil.copytree(made / "workspace", tmp_path / "workspace")
    place = Workspace(tmp_path / "workspace")
    datasets = [f"colours@{folder.name}" for folder in place.dataset_versions("colours")]
    for index, version in enumerate("abcd"):
        folder = place.model("tiny", version)
        shutil.copytree(made / "tiny", folder)
        card = open_bundle(folder).card.model_copy(update={"version": version, "dataset": datasets[-(version == "a")]})
        write_card(folder, card)
        os.utime(folder / BUNDLE_CARD, (1_700_000_000 + index,) * 2)
    score.plain(str(made / "images/colours/test"), "tiny@a", workspace=str(place.root))
    for version in "bd":
        promote(place.model("tiny", version), place, f"for {version}", None)
    return place


def names(place: Workspace) -> tuple[list[str], list[str]]:
    """Versions of the model, and numbers of the data set's, the newest being 0."""
    models = sorted(path.parent.name for path in place.models.glob(f"tiny/*/{BUNDLE_CARD}"))
    return models, sorted(path.name for path in place.dataset_versions("colours"))


def tree(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_list_says_what_made_what_and_which_version_is_in_use(place: Workspace) -> None:
    found = list_entries("all", str(place.root))
    newest, middle, oldest = place.dataset_versions("colours")
    assert [entry.name for entry in found.datasets] == [f"colours@{path.name}" for path in (newest, middle, oldest)]
    assert [entry.newest for entry in found.datasets] == [True, False, False]
    assert [entry.used_by for entry in found.datasets] == [("tiny@b", "tiny@c", "tiny@d"), (), ("tiny@a",)]
    assert {(entry.num_images, entry.num_classes) for entry in found.datasets} == {(69, 3)}
    assert [(each.name, each.verdict, each.in_use) for each in found.models] == [
        ("tiny@d", "blessed", True),
        ("tiny@c", "not evaluated", False),
        ("tiny@b", "blessed", False),
        ("tiny@a", "not evaluated", False),
    ]
    (table,) = found.scores
    assert found.models[-1].used_by == (table.name,)
    assert (table.made_by, table.num_rows) == (("tiny@a",), len(list((Path(table.scored)).rglob("*.*"))))
    folder = place.model("tiny", "a")
    assert found.models[-1].num_bytes == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert list_entries("models", str(place.root)).model_dump(exclude={"datasets", "scores"}) == found.model_dump(
        exclude={"datasets", "scores"}
    )
    assert list_entries("models", str(place.root)).datasets == ()


def test_a_damaged_card_is_an_entry_and_stops_the_cleaning(place: Workspace) -> None:
    (place.model("tiny", "c") / BUNDLE_CARD).write_text("{")
    damaged = {entry.name: entry.damaged for entry in list_entries("models", str(place.root)).models}
    assert [name for name, found in damaged.items() if found] == ["tiny@c"]
    place.blessed_card("tiny").write_text("{")
    with pytest.raises(FormatError, match="blessed"):
        clean.plain(1, workspace=str(place.root))
    assert names(place)[0] == list("abcd")


def test_a_damaged_table_stops_the_cleaning_since_its_model_is_not_known(place: Workspace) -> None:
    (table,) = list_entries("scores", str(place.root)).scores
    Path(f"{table.folder}.summary.json").write_text("{")
    assert list_entries("scores", str(place.root)).scores[0].damaged
    with pytest.raises(FormatError, match="summary"):
        clean.plain(1, workspace=str(place.root))
    assert names(place)[0] == list("abcd")


@pytest.mark.parametrize("killed", [False, True])
def test_the_table_of_an_inbox_keeps_every_model_that_made_a_row(place: Workspace, made: Path, killed: bool) -> None:
    shutil.rmtree(place.scores)
    inbox = made / "images/colours/test"
    first = score_inbox.plain(str(inbox), "tiny@a", workspace=str(place.root), settle_seconds=0)
    again = score_inbox.plain(
        str(inbox), "tiny@c", workspace=str(place.root), settle_seconds=0, rescore=True, out=first.out
    )
    assert again.models == ("tiny@a", "tiny@c")
    if killed:  # before the card was written
        Path(f"{first.out}.inbox.json").unlink()
    (table,) = list_entries("scores", str(place.root)).scores
    assert (table.made_by, table.num_rows) == (again.models, 2 * first.num_new)
    assert [each.name for each in clean.plain(1, workspace=str(place.root)).removals if each.kind == "model"] == []
    if not killed:
        part = next(Path(first.out).glob("*/part-*.parquet"))
        part.write_bytes(part.read_bytes()[:-9])
        with pytest.raises(FormatError, match="damaged"):
            clean.plain(1, workspace=str(place.root))


def test_only_what_nothing_depends_on_goes(place: Workspace) -> None:
    newest, middle, oldest = (path.name for path in place.dataset_versions("colours"))
    before = tree(place.root)
    planned = clean.plain(1, dry_run=True, workspace=str(place.root))
    assert tree(place.root) == before
    assert [(each.kind, each.name) for each in planned.removals] == [
        ("model", "tiny@c"),
        ("data set", f"colours@{middle}"),
    ]
    done = clean.plain(1, workspace=str(place.root))
    assert names(place) == (["a", "b", "d"], sorted([newest, oldest]))
    assert [each.removed for each in done.removals] == [True, True]
    assert done.num_bytes == planned.num_bytes == sum(each.num_bytes for each in done.removals)
    gone = sum(map(len, before.values())) - sum(map(len, tree(place.root).values()))
    assert gone == done.num_bytes
    assert clean.plain(1, workspace=str(place.root)).removals == ()


def test_the_newest_versions_stay_and_at_least_one(place: Workspace) -> None:
    assert clean.plain(2, dry_run=True, workspace=str(place.root)).removals == ()
    with pytest.raises(SettingError, match="--keep 0"):
        clean.plain(0, workspace=str(place.root))


def test_what_a_run_uses_stays(place: Workspace) -> None:
    middle = place.dataset_versions("colours")[1]
    with in_use(place, place.model("tiny", "c"), middle), in_use(place, place.model("tiny", "c")):
        done = clean.plain(1, workspace=str(place.root))
        assert [each.removed for each in done.removals] == [False, False]
        assert done.num_bytes == 0
    assert names(place)[0] == list("abcd")
    clean.plain(1, workspace=str(place.root))
    assert names(place)[0] == ["a", "b", "d"]


def test_what_came_to_be_needed_after_it_was_planned_stays(place: Workspace) -> None:
    planned = cleaning.plan_cleaning(place, 1, caches=False)
    promote(place.model("tiny", "c"), place, "meanwhile", None)
    done = cleaning.clean(place, planned, 1)
    assert [(each.name.partition("@")[0], each.removed) for each in done] == [("tiny", False), ("colours", True)]


def test_caches_go_only_when_told_and_are_made_again(place: Workspace, made: Path) -> None:
    features = place.dataset_versions("colours")[0] / "features"
    features.mkdir()
    (features / "x.npz").write_bytes(b"12345")
    (place.sources / "0123").mkdir(parents=True)
    (place.sources / "0123" / "a.png").write_bytes(b"123")
    assert {each.kind for each in clean.plain(1, dry_run=True, workspace=str(place.root)).removals} == {
        "model",
        "data set",
    }
    done = clean.plain(3, caches=True, workspace=str(place.root))
    assert [(each.kind, each.num_bytes) for each in done.removals] == [("features", 5), ("source", 3)]
    assert not features.exists()
    assert not (place.sources / "0123").exists()


def test_the_history_says_which_version_was_in_use_when(place: Workspace) -> None:
    found = history("tiny", str(place.root))
    assert [entry.name for entry in found.versions] == ["tiny@d", "tiny@c", "tiny@b", "tiny@a"]
    assert [(each.version, each.event.why) for each in found.periods] == [("b", "for b"), ("d", "for d")]
    first, last = found.periods
    assert (first.end, last.end) == (last.start, None)
    with pytest.raises(InputError, match=r"no model 'colours'.*tiny"):
        history("colours", str(place.root))


def test_the_commands_print_it_and_nothing_is_removed_unasked(
    place: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(place.root)
    call(monkeypatch, "list", "models", "--workspace", root, "--json")
    assert json.loads(capsys.readouterr().out)["models"][0]["name"] == "tiny@d"
    call(monkeypatch, "list", "--workspace", root)
    shown = capsys.readouterr().out
    assert "tiny@d" in shown
    assert "blessed, in use" in shown
    call(monkeypatch, "history", "tiny", "--workspace", root)
    assert "for d" in capsys.readouterr().out
    call(monkeypatch, "clean", "--keep", "1", "--dry-run", "--workspace", root)
    assert "may go" in capsys.readouterr().out
    status, said = in_process(monkeypatch, capsys, "clean", "--keep", "1", "--workspace", root)
    assert (status, "--yes" in said) == (2, True)
    assert names(place)[0] == list("abcd")
