"""Object stores: an object arrives whole, a failure is one sentence, and no secret is ever repeated."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from darkroom.data.errors import DarkroomError, ImageError, InputError, SettingError, SourceError, WorkError
from darkroom.data.stores import storage
from darkroom.data.stores.storage import (
    MIB,
    ObjectFact,
    Url,
    download,
    find_object,
    list_objects,
    place_from,
    read_object,
    refuse_secrets,
    remove,
    upload,
)
from tests.stores import KEY, SECRET, s3_server


@pytest.fixture(scope="module")
def running():
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(running):
    running.faults.clear()
    running.asked.clear()
    running.put("photos")
    return running


def test_a_url_is_its_store_and_its_path_without_slashes_at_the_ends():
    assert place_from("s3://photos/new/2026/") == Url("s3", "photos/new/2026")
    assert place_from("GS://photos") == Url("gs", "photos")
    assert str(Url("s3", "photos") / "a b/ü.jpg") == "s3://photos/a b/ü.jpg"
    assert (
        str(place_from("abfs://box@account.dfs.core.windows.net/new")) == "abfs://box@account.dfs.core.windows.net/new"
    )


def test_a_path_and_a_file_url_are_the_same_place(tmp_path):
    assert place_from(str(tmp_path)) == place_from(f"file://{tmp_path}") == tmp_path
    assert place_from("kaggle:owner/dataset").name == "dataset"


@pytest.mark.parametrize(
    "text",
    [
        f"s3://{KEY}:{SECRET}@photos/new",
        f"s3://{KEY}@photos/new",
        f"s3://photos/new?X-Amz-Signature={SECRET}",
        f"az://photos/new?sv=2026&sig={SECRET}",
        f"https://user:{SECRET.replace('/', '')}@host/x",
    ],
)
def test_a_url_with_credentials_is_refused_without_repeating_it(text):
    with pytest.raises(SettingError, match="must not hold credentials") as failure:
        place_from(text)
    assert KEY not in str(failure.value)
    assert SECRET not in str(failure.value)


@pytest.mark.parametrize(
    "text", ["tcp://127.0.0.1:8786", "--address=tcp://10.0.0.1:8786", "s3://photos/a", "a@b:c", "see http://x/y?z=1"]
)
def test_an_address_without_secrets_is_no_secret(text):
    refuse_secrets(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://host/x", "http:// is not a supported"),
        ("s3:///x", "names no bucket"),
        ("file://host/x", "names another machine"),
        ("s3://photos/x?versionId=1", r"holds '\?' or '#'"),
    ],
)
def test_what_is_no_place_is_refused_with_the_remedy(text, said):
    with pytest.raises(SettingError, match=said):
        place_from(text)


def test_objects_are_listed_with_all_their_facts_over_several_pages(s3, monkeypatch):
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "5")
    names = [f"{number} ü&#%.png" for number in range(8)] + ["deep/er/a.png", "/odd.png", "back\\slash.png"]
    for name in names:
        s3.put(f"photos/listed/{name}", name.encode())
    s3.put("photos/listed.png", b"beside it")
    with s3.recording() as asked:
        found = {fact.name: fact for fact in list_objects(Url("s3", "photos/listed"))}
    assert set(found) == set(names)
    assert sum("list-type=2" in request for request in asked) == 3
    for name, fact in found.items():
        head = s3.client.head_object(Bucket="photos", Key=f"listed/{name}")
        changed = int(head["LastModified"].timestamp()) * 10**9
        assert fact == ObjectFact(name, head["ContentLength"], head["ETag"].strip('"'), changed)
        assert read_object(Url("s3", "photos/listed") / name, 100) == name.encode()
        assert find_object(Url("s3", "photos/listed") / name) == replace(fact, name=name.rpartition("/")[2])


def test_another_kind_of_store_is_read_and_written_by_the_same_calls(monkeypatch, tmp_path):
    monkeypatch.setattr(storage, "EXTRAS", {"memory": "memory"})
    (tmp_path / "file").write_bytes(b"12345")
    folder = Url("memory", "elsewhere/new")
    assert list(list_objects(folder)) == []
    fact = upload(tmp_path / "file", folder / "deep/a.png")
    assert [(each.name, each.size_bytes, each.etag) for each in list_objects(folder)] == [("deep/a.png", 5, fact.etag)]
    assert read_object(folder / "deep/a.png", 5) == b"12345"
    download(folder / "deep/a.png", tmp_path / "back", 5)
    assert (tmp_path / "back").read_bytes() == b"12345"
    remove(folder / "deep/a.png")
    assert find_object(folder / "deep/a.png") is None


def test_an_image_costs_one_request(s3):
    s3.put("photos/one.png", b"12345")
    with s3.recording() as asked:
        assert read_object(Url("s3", "photos/one.png"), 5) == b"12345"
    assert asked == ["GET /photos/one.png"]


def test_what_cannot_be_read_of_one_object_is_the_images_fault_alone(s3):
    s3.put("photos/empty.png")
    assert read_object(Url("s3", "photos/empty.png"), 5) == b""
    s3.put("photos/long.png", b"123456")
    s3.failing("GET /photos/private.png", 403)
    for name, reason in {"long.png": "too_large", "gone.png": "unreadable", "private.png": "unreadable"}.items():
        with pytest.raises(ImageError) as failure:
            read_object(Url("s3", "photos") / name, 5)
        assert failure.value.reason == reason


def test_a_large_file_goes_up_in_parts_and_comes_back_the_same(s3, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "PART_BYTES", 5 * MIB)
    content = os.urandom(11 * MIB)
    (tmp_path / "model").write_bytes(content)
    with s3.recording() as asked:
        fact = upload(tmp_path / "model", Url("s3", "photos/model"))
    assert sum("partNumber=" in request for request in asked) == 3
    assert fact.size_bytes == len(content)
    download(Url("s3", "photos/model"), tmp_path / "back", len(content))
    assert (tmp_path / "back").read_bytes() == content


def test_of_an_upload_that_breaks_off_nothing_is_left(s3, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "PART_BYTES", 5 * MIB)
    (tmp_path / "model").write_bytes(bytes(11 * MIB))
    s3.failing("partNumber=3", 403)
    with pytest.raises(InputError, match=r"^s3://photos/broken was refused \(AccessDenied\)"):
        upload(tmp_path / "model", Url("s3", "photos/broken"))
    assert find_object(Url("s3", "photos/broken")) is None
    assert s3.client.list_multipart_uploads(Bucket="photos").get("Uploads", []) == []


def test_a_download_that_is_not_as_expected_leaves_no_file(s3, tmp_path):
    s3.put("photos/model", b"12345")
    for expected in ((4, None), (5, "0" * 64)):
        with pytest.raises(WorkError, match="it was changed"):
            download(Url("s3", "photos/model"), tmp_path / "model", *expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [500, 503])
def test_what_fails_for_a_moment_is_tried_again(s3, tmp_path, status):
    s3.put("photos/shaky.png", b"12345")
    refused = [
        s3.failing(each, status, times=2) for each in ("GET /photos/shaky.png", "PUT /photos/new", "list-type=2")
    ]
    assert read_object(Url("s3", "photos/shaky.png"), 5) == b"12345"
    (tmp_path / "new").write_bytes(b"1")
    upload(tmp_path / "new", Url("s3", "photos/new"))
    assert {"shaky.png", "new"} <= {fact.name for fact in list_objects(Url("s3", "photos"))}
    assert [len(each) for each in refused] == [2, 2, 2]


def refusals(url: Url, tmp_path: Path) -> Iterator[DarkroomError]:
    """What each kind of access raises."""
    (tmp_path / "file").write_bytes(b"1")
    for access in (
        lambda: list(list_objects(url)),
        lambda: upload(tmp_path / "file", url / "x"),
        lambda: read_object(url / "x", 5),
        lambda: download(url / "x", tmp_path / "back", 1),
        lambda: find_object(url / "x"),
    ):
        with pytest.raises(DarkroomError) as failure:
            access()
        yield failure.value


def test_wrong_credentials_are_said_in_one_sentence_with_no_secret(s3, tmp_path, monkeypatch, caplog):
    import s3fs

    caplog.set_level("INFO")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONG0000000")
    s3fs.S3FileSystem.clear_instance_cache()
    for error in refusals(Url("s3", "photos"), tmp_path):
        assert isinstance(error, InputError)
        assert str(error).startswith("s3://photos")
        assert "Check the credentials" in str(error)
        assert not any(secret in str(error) + caplog.text for secret in (KEY, SECRET, "AKIAWRONG"))
        assert error.__suppress_context__
    s3fs.S3FileSystem.clear_instance_cache()


def test_without_credentials_it_is_said_where_they_go(s3, tmp_path, monkeypatch):
    import s3fs

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    s3fs.S3FileSystem.clear_instance_cache()
    for error in refusals(Url("s3", "photos"), tmp_path):
        assert isinstance(error, InputError)
        assert "No credentials were found" in str(error)
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_client_that_finds_no_account_says_where_credentials_go(monkeypatch):
    """As Azure's does, at once, with what it was given in its message."""
    import fsspec

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("unable to connect to account for AccountKey=KEY")

    monkeypatch.setattr(fsspec, "filesystem", refuse)
    with pytest.raises(InputError, match=r"^No credentials were found for az://photos/2026 \(ValueError\)") as failure:
        list(list_objects(Url("az", "photos/2026")))
    assert "KEY" not in str(failure.value)
    assert failure.value.__suppress_context__


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_ENDPOINT_URL_S3", "no address"), ("AWS_DEFAULT_REGION", "no where!")]
)
def test_a_setting_that_a_client_cannot_use_is_not_a_failure_of_the_store(s3, tmp_path, monkeypatch, name, value):
    import s3fs

    monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    for error in refusals(Url("s3", "photos"), tmp_path):
        assert isinstance(error, InputError)
        assert "its client cannot use what is set: key, region, endpoint" in str(error)
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_bucket_that_does_not_exist_is_named(s3, tmp_path):
    with pytest.raises(SourceError, match=r"^The bucket of s3://nothing/here does not exist"):
        list(list_objects(Url("s3", "nothing/here")))
    (tmp_path / "file").write_bytes(b"1")
    with pytest.raises(SourceError, match="does not exist"):
        upload(tmp_path / "file", Url("s3", "nothing/here"))
    assert list(list_objects(Url("s3", "photos/no-such-folder"))) == []


def test_a_store_that_cannot_be_reached_fails_the_work_and_not_the_image(s3, tmp_path, monkeypatch):
    import s3fs

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        s3fs.S3FileSystem.clear_instance_cache()
        for error in refusals(Url("s3", "photos"), tmp_path):
            assert isinstance(error, WorkError)
            assert "cannot be reached" in str(error)
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "adlfs", None)
    with pytest.raises(SettingError, match=r"pip install 'darkroom-flows\[azure\]'"):
        list(list_objects(Url("az", "photos")))


def test_removing_what_is_not_there_is_no_error(s3):
    s3.put("photos/old", b"1")
    remove(Url("s3", "photos/old"))
    remove(Url("s3", "photos/old"))
    assert find_object(Url("s3", "photos/old")) is None
