"""`darkroom doctor`: what is missing decides the exit status, and a check that breaks is itself a finding."""

from __future__ import annotations

import json
import tomllib
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from darkroom.data.stores.mirror import Mirror
from darkroom.data.stores.storage import Url
from darkroom.data.stores.workspace import Workspace
from darkroom.flows import doctor
from darkroom.flows.doctor import Examination, Finding, examine, show_findings
from tests.processes import ROOT
from tests.stores import s3_server


@pytest.mark.parametrize(("statuses", "exit_status"), [(("ok",), 0), (("ok", "note"), 0), (("ok", "missing"), 1)])
@pytest.mark.parametrize("as_json", [False, True])
def test_only_what_is_missing_fails(
    statuses: tuple[str, ...], exit_status: int, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = tuple(Finding(subject="x", status=status, found="[red]f", remedy="do") for status in statuses)
    assert show_findings(Examination(findings=findings), as_json) == exit_status
    shown = capsys.readouterr().out
    if as_json:
        assert [each["status"] for each in json.loads(shown)["findings"]] == list(statuses)
    assert shown.count("[red]f") == len(statuses)


def test_an_address_is_never_cut_or_broken(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    address = "PREFECT_API_URL=http://a-server-with-a-long-name.example.org:4200/api"
    show_findings(Examination(findings=(Finding(subject="x", status="note", found=address, remedy=address),)), False)
    assert capsys.readouterr().out.count(address) == 2


def test_a_check_that_breaks_is_a_finding_and_the_others_are_still_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Finding:
        raise RuntimeError("secret")

    monkeypatch.setattr(doctor, "_weights", broken)
    monkeypatch.setattr(doctor, "_KAGGLE", ("127.0.0.1", 9))
    found = {finding.subject: finding for finding in examine(Workspace(tmp_path / "new/workspace")).findings}
    assert (found["weights"].status, found["weights"].found) == ("missing", "could not be checked: RuntimeError")
    assert found["kaggle"].status == "note"
    assert found["workspace"].status == "ok"
    assert not (tmp_path / "new").exists()
    assert all(finding.remedy for finding in found.values() if finding.status == "note")


def test_a_package_outside_of_what_was_tested_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._packages().status == "ok"
    monkeypatch.setattr(doctor, "version", lambda name: "2.1.9" if name == "sqlalchemy" else version(name))
    found = doctor._packages()
    assert found.status == "missing"
    assert "sqlalchemy 2.1.9" in found.found
    assert "'sqlalchemy<2.1,>=2.0.40'" in found.remedy
    assert "fastapi" not in found.found


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_the_locked_versions_are_within_the_ranges_of_pyproject(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [each for extra in project["optional-dependencies"].values() for each in extra]
    wanted = {Requirement(text).name: Requirement(text).specifier for text in [*project["dependencies"], *extras]}
    locked = [Requirement(line) for line in (ROOT / name).read_text().splitlines() if line and line[0] not in " #-"]
    pins = [(each.name, str(each.specifier).removeprefix("==")) for each in locked if each.name in wanted]
    assert ("sqlalchemy", "2.0.58") in pins
    assert [(package, pin) for package, pin in pins if not wanted[package].contains(pin, prereleases=True)] == []


def test_the_urls_that_can_be_read_are_named_and_what_the_others_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: name == "s3fs" or None)
    found = doctor._stores()
    assert (found.status, found.found) == ("note", "s3://, s3a://")
    assert "darkroom-flows[gcs,azure]" in found.remedy
    monkeypatch.setattr(doctor, "find_spec", lambda name: True)
    assert doctor._stores().status == "ok"


def test_a_workspace_in_a_store_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with s3_server() as server:
        server.put("there")
        for bucket, status, said in (
            ("there", "ok", "s3://there/darkroom, its copy in"),
            ("gone", "missing", "bucket"),
        ):
            mirror = Mirror(Url("s3", f"{bucket}/darkroom"), tmp_path / bucket)
            found = doctor._checked("workspace", partial(doctor._workspace, Workspace(mirror.folder, mirror)))
            assert found.status == status
            assert said in found.found
