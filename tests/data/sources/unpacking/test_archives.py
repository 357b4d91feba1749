"""What an archive may hold, and that nothing else ever reaches the disk."""

from __future__ import annotations

import gzip
import io
import logging
import os
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkroom.data.errors import SourceError, WorkError
from darkroom.data.sources.unpacking.archives import ArchiveLimits, unpack

MIB = 2**20


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


FILES = {
    "train/cats/cat 1.png": png(1),
    "train/cats/ünï – 猫.png": png(2),
    "train/dogs/dog.1.png": png(3),
    "train/dogs/empty.png": b"",
    "test/<script>.png": png(4),
    "big.bin": os.urandom(3 * MIB + 17),
}


def zip_of(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            info.external_attr = (stat.S_IFREG | 0o4777) << 16
            archive.writestr(info, content)
    return path


def tar_of(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = 0o4777
            archive.addfile(info, io.BytesIO(content))
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(archive: Path, tmp_path: Path, limits: ArchiveLimits | None = None) -> str:
    """The sentence of the refusal; nothing may be left, inside the sources folder or beside it."""
    before = sorted(p for p in tmp_path.rglob("*") if p.name not in ("sources", ".lock"))
    with pytest.raises(SourceError) as caught:
        unpack(archive, tmp_path / "sources", limits or ArchiveLimits())
    after = sorted(p for p in tmp_path.rglob("*") if p.name not in ("sources", ".lock"))
    assert after == before
    sentence = str(caught.value)
    assert str(archive) in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: zip_of(folder / "a.zip", FILES),
        lambda folder: zip_of(folder / "stored.ZIP", FILES, zipfile.ZIP_STORED),
        lambda folder: tar_of(folder / "a.tar", FILES),
        lambda folder: tar_of(folder / "a.tar.gz", FILES),
        lambda folder: tar_of(folder / "a.tgz", FILES),
    ],
    ids=["zip", "stored", "tar", "tar.gz", "tgz"],
)
def test_unpacks_every_file_bit_for_bit_and_plain(make: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = unpack(make(tmp_path), tmp_path / "sources")
    assert folder.is_absolute()
    assert tree(folder) == FILES
    umask = os.umask(0)
    os.umask(umask)
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*") if p.is_file()} == {0o644 & ~umask}


@pytest.mark.parametrize("form", ["zip", "tar", "gztar"])
def test_unpacks_what_shutil_packed_empty_folders_included(form: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name, content in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    (source / "train" / "birds").mkdir()
    archive = Path(shutil.make_archive(str(tmp_path / "made"), form, source))
    folder = unpack(archive, tmp_path / "sources")
    assert tree(folder) == FILES
    assert (folder / "train" / "birds").is_dir()


def test_a_long_name_in_each_tar_format(tmp_path: Path) -> None:
    name = "/".join(["folder-of-forty-characters-and-some-more"] * 8) + "/ü.png"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = tmp_path / f"{form}.tar"
        with tarfile.open(path, "w", format=form) as archive:
            info = tarfile.TarInfo(name)
            info.size = 5
            archive.addfile(info, io.BytesIO(b"12345"))
        assert tree(unpack(path, tmp_path / "sources")) == {name: b"12345"}


def test_a_name_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        archive.addfile(tarfile.TarInfo("caf\xe9.png"), io.BytesIO())
    assert os.listdir(os.fsencode(unpack(path, tmp_path / "sources"))) == [b"caf\xe9.png"]


def test_backslashes_of_windows_tools_are_folders_in_a_zip(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {"cats\\1.png": b"1", "cats\\2.png": b"2"})
    assert tree(unpack(archive, tmp_path / "sources")) == {"cats/1.png": b"1", "cats/2.png": b"2"}


def test_the_second_run_finds_the_first_ones_work(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive = zip_of(tmp_path / "a.zip", FILES)
    first = unpack(archive, tmp_path / "sources")
    made = {p: p.stat().st_ino for p in first.rglob("*")}
    renamed = archive.rename(tmp_path / "renamed.zip")
    with caplog.at_level(logging.INFO, "darkroom.data.sources.unpacking.archives"):
        assert unpack(renamed, tmp_path / "sources") == first
    assert {p: p.stat().st_ino for p in first.rglob("*")} == made
    assert "already unpacked" in caplog.text
    assert sorted((tmp_path / "sources").iterdir()) == [tmp_path / "sources/.lock", first]


HOSTILE_NAMES = {
    "../evil.png": "'..'",
    "a/../../evil.png": "'..'",
    "..\\evil.png": "'..'",
    "a\\..\\..\\evil.png": "'..'",
    "/tmp/evil.png": "absolute",
    "\\\\server\\evil.png": "absolute",
    "C:/evil.png": "absolute",
    "c:\\evil.png": "absolute",
    "C:evil.png": "absolute",
    "x" * 300 + ".png": "cannot be a file",
}


@pytest.mark.parametrize("pack", [zip_of, tar_of])
@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_that_lead_elsewhere_are_refused(
    name: str, pack: Callable[[Path, dict[str, bytes]], Path], tmp_path: Path
) -> None:
    suffix = ".zip" if pack is zip_of else ".tar.gz"
    sentence = refused(pack(tmp_path / f"a{suffix}", {"good.png": png(1), name: b"evil"}), tmp_path)
    assert HOSTILE_NAMES[name] in sentence
    assert "evil" in sentence or "xxx" in sentence


@pytest.mark.parametrize("pack", [zip_of, tar_of])
@pytest.mark.parametrize(
    "other", ["cats/a.png", "Cats/A.PNG", "cats/./a.png", "cats//a.png"], ids=["same", "case", "dot", "slashes"]
)
def test_two_entries_of_one_name_are_refused(
    other: str, pack: Callable[[Path, dict[str, bytes]], Path], tmp_path: Path
) -> None:
    suffix = ".zip" if pack is zip_of else ".tar"
    archive = tmp_path / f"a{suffix}"
    if other == "cats/a.png" and pack is zip_of:
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr(other, "1")
            with pytest.warns(UserWarning, match="Duplicate"):
                opened.writestr(other, "2")
    elif other == "cats/a.png":
        with tarfile.open(archive, "w") as tar:
            tar.addfile(tarfile.TarInfo(other))
            tar.addfile(tarfile.TarInfo(other))
    else:
        pack(archive, {"cats/a.png": b"1", other: b"2"})
    assert "the same name as another" in refused(archive, tmp_path)


def test_names_that_differ_only_in_unicode_form_are_refused(tmp_path: Path) -> None:
    assert "the same name as another" in refused(
        zip_of(tmp_path / "a.zip", {"é.png": b"1", "e\u0301.png": b"2"}), tmp_path
    )


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_a_name_that_is_both_file_and_folder_is_refused(
    pack: Callable[[Path, dict[str, bytes]], Path], tmp_path: Path
) -> None:
    suffix = ".zip" if pack is zip_of else ".tar"
    assert "cannot be a file" in refused(pack(tmp_path / f"a{suffix}", {"a": b"1", "a/b": b"2"}), tmp_path)


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_folders_nested_too_deep_are_refused(pack: Callable[[Path, dict[str, bytes]], Path], tmp_path: Path) -> None:
    """Each entry makes its folders a little deeper than the one before: 1,500 in the end."""
    suffix = ".zip" if pack is zip_of else ".tar"
    deep = {"d/" * depth + "x.png": png(1) for depth in (100, 400, 800, 1200, 1500)}
    assert "more than 100 folders" in refused(pack(tmp_path / f"a{suffix}", deep), tmp_path)
    allowed = {"d/" * 100 + "x.png": png(1)}
    assert tree(unpack(pack(tmp_path / f"b{suffix}", allowed), tmp_path / "sources")) == allowed


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as opened:
        info = tarfile.TarInfo("link")
        info.type = kind
        info.linkname = "/etc/passwd"
        opened.addfile(info)
        inside = tarfile.TarInfo("link/x")
        opened.addfile(inside)
    assert "'link' is a link, a device" in refused(archive, tmp_path)


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_are_refused(mode: int, tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        info = zipfile.ZipInfo("link")
        info.external_attr = (mode | 0o777) << 16
        opened.writestr(info, "/etc/passwd")
    assert "'link' is a link or a device" in refused(archive, tmp_path)


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {"secret.png": png(1)})
    content = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    archive.write_bytes(content)
    sentence = refused(archive, tmp_path)
    assert "'secret.png' is encrypted" in sentence
    assert "password" in sentence


@pytest.mark.parametrize("method", [9, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_cannot_be_unpacked_within_bounded_memory_is_refused(method: int, tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {"a.png": png(1)})
    content = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(mark) + offset] = method
    archive.write_bytes(content)
    assert f"method {method}" in refused(archive, tmp_path)


def test_a_zip_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = zip_of(tmp_path / "whole.zip", {f"{i}.png": png(i) for i in range(4)}).read_bytes()
    for size in [0, 1, 30, len(whole) // 2, len(whole) - 30, len(whole) - 5]:
        archive = tmp_path / "cut.zip"
        archive.write_bytes(whole[:size])
        assert "damaged" in refused(archive, tmp_path)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_tar_cut_anywhere_is_refused(suffix: str, tmp_path: Path) -> None:
    files = {f"{i}.png": png(i) for i in range(4)}
    whole = tar_of(tmp_path / f"whole{suffix}", files).read_bytes()
    cuts = [0, 1, 300, len(whole) // 4]
    if suffix == ".tar":
        entry_bytes = 512 + -(-len(png(0)) // 512) * 512
        cuts += [entry_bytes, 2 * entry_bytes]  # just between two entries: only the mark at the end is missing
    else:
        cuts += [len(whole) // 2, len(whole) - 5]
    for size in cuts:
        archive = tmp_path / f"cut{suffix}"
        archive.write_bytes(whole[:size])
        assert "damaged" in refused(archive, tmp_path), size


def test_a_damaged_header_in_the_middle_of_a_tar_is_not_its_end(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "a.tar", {f"{i}.png": b"x" * 512 for i in range(4)})
    content = bytearray(archive.read_bytes())
    content[2048 + 10] ^= 1
    archive.write_bytes(content)
    assert "damaged" in refused(archive, tmp_path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_bit_in_a_zip_is_found(method: int, tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {"a.bin": os.urandom(1000)}, method)
    content = bytearray(archive.read_bytes())
    content[500] ^= 1
    archive.write_bytes(content)
    assert "'a.bin'" in refused(archive, tmp_path)


def test_a_flipped_bit_in_a_gzip_is_found(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "a.tar.gz", {"a.bin": os.urandom(100_000)})
    content = bytearray(archive.read_bytes())
    content[50_000] ^= 1
    archive.write_bytes(content)
    assert "damaged" in refused(archive, tmp_path)


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    limits = ArchiveLimits(max_entries=3)
    files = {f"{i}.png": b"1" for i in range(4)}
    assert "limit of 3 entries" in refused(zip_of(tmp_path / "a.zip", files), tmp_path, limits)
    assert "limit of 3 entries" in refused(tar_of(tmp_path / "a.tar", files), tmp_path, limits)


def test_too_many_bytes_are_refused(tmp_path: Path) -> None:
    limits = ArchiveLimits(max_unpacked_bytes=100_000)
    files = {f"{i}.bin": os.urandom(60_000) for i in range(2)}
    assert "limit of 100,000 unpacked bytes" in refused(zip_of(tmp_path / "a.zip", files), tmp_path, limits)
    assert "limit of 100,000 unpacked bytes" in refused(tar_of(tmp_path / "a.tar", files), tmp_path, limits)


def zeros(num_mib: int) -> Iterator[bytes]:
    return (bytes(MIB) for _ in range(num_mib))


def zip_bomb(path: Path, num_mib: int = 100) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened, opened.open("bomb.png", "w") as stream:
        for chunk in zeros(num_mib):
            stream.write(chunk)
    return path


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    assert "as a zip bomb does" in refused(zip_bomb(tmp_path / "a.zip"), tmp_path)


def test_a_zip_bomb_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    archive = zip_bomb(tmp_path / "a.zip", 70)
    content = bytearray(archive.read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<I", 1000)
    archive.write_bytes(content)
    assert "bomb.png" in refused(archive, tmp_path)


def test_entries_that_share_their_bytes_are_counted_as_often_as_they_unpack(tmp_path: Path) -> None:
    """The overlapping kind of bomb: a hundred entries in the directory, all of the same compressed bytes."""
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("000", bytes(MIB))
    content = archive.read_bytes()
    start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry = content[start:end]
    directory = b"".join(entry for _ in range(100))
    archive.write_bytes(
        content[:start] + directory + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 100, 100, len(directory), start, 0)
    )
    refused(archive, tmp_path)


def test_a_tar_bomb_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as opened:
        info = tarfile.TarInfo("bomb.png")
        info.size = 100 * MIB
        with open("/dev/zero", "rb") as nothing:
            opened.addfile(info, nothing)
    assert "'bomb.png' unpacks to more than 200 times" in refused(archive, tmp_path)


def test_what_shrinks_well_but_is_small_is_no_bomb(tmp_path: Path) -> None:
    archive = zip_bomb(tmp_path / "a.zip", 20)
    assert (unpack(archive, tmp_path / "sources") / "bomb.png").stat().st_size == 20 * MIB


def header(name: bytes, size: int, kind: bytes = b"0") -> bytes:
    """A tar header with any size, negative ones too."""
    info = tarfile.TarInfo(name.decode())
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\x80" + size.to_bytes(11, "big") if size >= 0 else b"\xff" + (2**88 + size).to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "content",
    [
        header(b"long", 2**32, b"L") + bytes(8 * MIB),
        header(b"pax", 2**32, b"x") + bytes(8 * MIB),
        header(b"back", -512) + bytes(1024),
        header(b"back", -1024, b"x") + bytes(1024),
        (header(b"pax", 11, b"x") + b"11 path=ab\n".ljust(512, b"\0")) * 3000 + bytes(1024),
        header(b"sparse", 512, b"S") + bytes(2048),
    ],
    ids=["long name of 4 GiB", "PAX header of 4 GiB", "negative size", "negative PAX", "chain of headers", "sparse"],
)
def test_hostile_tar_headers_are_refused(content: bytes, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(content))
    refused(archive, tmp_path)


def test_an_archive_without_a_file_is_refused(tmp_path: Path) -> None:
    assert "holds no file" in refused(zip_of(tmp_path / "a.zip", {}), tmp_path)
    assert "holds no file" in refused(tar_of(tmp_path / "a.tar", {}), tmp_path)


def test_another_kind_of_file_under_the_name_of_an_archive_is_refused(tmp_path: Path) -> None:
    for name in ("a.zip", "a.tar", "a.tgz"):
        (tmp_path / name).write_bytes(png(1) * 20)
        assert "damaged" in refused(tmp_path / name, tmp_path)


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"missing\.zip cannot be read"):
        unpack(tmp_path / "missing.zip", tmp_path / "sources")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("darkroom.data.sources.unpacking.archives._write", full)
    with pytest.raises(WorkError, match="Disk full"):
        unpack(zip_of(tmp_path / "a.zip", FILES), tmp_path / "sources")
    assert not (tmp_path / "sources").exists()


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_memory_stays_small_whatever_the_size(kind: str, tmp_path: Path) -> None:
    archive = tmp_path / ("a.tar.gz" if kind == "tar.gz" else "a.zip")
    if kind == "tar.gz":
        with gzip.open(archive, "wb", compresslevel=1) as stream:
            stream.write(header(b"a.bin", 300 * MIB))
            for chunk in zeros(300):
                stream.write(chunk)
            stream.write(bytes(1024))
    else:
        zip_bomb(archive, 300)
    script = (
        "import re; from pathlib import Path\n"
        "from darkroom.data.sources.unpacking import archives as a\n"
        "from darkroom.data.sources.unpacking.archives import *\n"
        "a._write = lambda path, chunks: (path.touch(), sum(map(len, chunks)))[1]\n"
        f"unpack(Path({str(archive)!r}), Path({str(tmp_path / 'sources')!r}), ArchiveLimits(max_ratio=10**9))\n"
        "print(int(re.search(r'VmHWM:\\s*(\\d+) kB', Path('/proc/self/status').read_text())[1]) // 1024)"
    )
    peak_mib = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    assert peak_mib < 150


def test_what_a_killed_run_left_half_unpacked_is_removed_by_the_next(tmp_path: Path) -> None:
    half = tmp_path / "sources" / (".tmp-" + "a" * 32) / "cats"
    half.mkdir(parents=True)
    (half / "1.png").write_bytes(b"half")
    folder = unpack(zip_of(tmp_path / "a.zip", FILES), tmp_path / "sources")
    assert sorted((tmp_path / "sources").iterdir()) == [tmp_path / "sources/.lock", folder]


def packed(name: str, files: dict[str, bytes], folder: Path) -> bytes:
    """An archive of that kind, as bytes."""
    path = folder / f"packed-{name.replace('/', '-')}"
    made = zip_of(path, files) if name.lower().endswith(".zip") else tar_of(path, files)
    content = made.read_bytes()
    made.unlink()
    return content


@pytest.mark.parametrize("outer", ["a.zip", "a.tar", "a.tar.gz"])
@pytest.mark.parametrize("inner", ["train.zip", "Train.ZIP", "x/train.tar", "train.tar.gz", "train.tgz"])
def test_an_archive_in_an_archive_becomes_a_folder_of_its_name(outer: str, inner: str, tmp_path: Path) -> None:
    files = {"train/cat.0.jpg": png(1), "train/dog.0.jpg": png(2)}
    made = {"sampleSubmission.csv": b"id,label\n1,0\n", inner: packed(inner, files, tmp_path)}
    (tmp_path / outer).write_bytes(packed(outer, made, tmp_path))
    folder = inner.split(".")[0]
    assert tree(unpack(tmp_path / outer, tmp_path / "sources")) == {
        "sampleSubmission.csv": b"id,label\n1,0\n",
        f"{folder}/train/cat.0.jpg": png(1),
        f"{folder}/train/dog.0.jpg": png(2),
    }


def nested(depth: int, folder: Path) -> bytes:
    content = packed("0.zip", {"a.png": png(1)}, folder)
    for level in range(depth):
        content = packed("x.zip", {f"{level}.zip": content}, folder)
    return content


def test_archives_are_unpacked_three_deep_and_no_deeper(tmp_path: Path) -> None:
    (tmp_path / "three.zip").write_bytes(nested(3, tmp_path))
    assert tree(unpack(tmp_path / "three.zip", tmp_path / "sources")) == {"2/1/0/a.png": png(1)}
    shutil.rmtree(tmp_path / "sources")
    (tmp_path / "four.zip").write_bytes(nested(4, tmp_path))
    sentence = refused(tmp_path / "four.zip", tmp_path)
    assert "'0.zip' in '1.zip' in '2.zip' in '3.zip' is an archive below 3 others" in sentence


@pytest.mark.parametrize("inner", ["in.zip", "in.tar", "in.tar.gz"])
@pytest.mark.parametrize("name", ["../evil.png", "/tmp/evil.png", "C:\\evil.png", "a/../../evil.png"])
def test_a_name_that_leads_out_of_an_inner_archive_is_refused(inner: str, name: str, tmp_path: Path) -> None:
    content = packed(inner, {name: b"evil"}, tmp_path)
    archive = zip_of(tmp_path / "a.zip", {"good.png": png(1), inner: content})
    assert f"in '{inner}'" in refused(archive, tmp_path)


def test_what_is_refused_in_an_archive_is_refused_in_one_within_it(tmp_path: Path) -> None:
    link = tmp_path / "link.tar"
    with tarfile.open(link, "w") as opened:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(info)
    secret = bytearray(packed("s.zip", {"secret.png": png(1)}, tmp_path))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        secret[secret.index(mark) + offset] |= 1
    whole = packed("in.zip", {"a.png": png(1)}, tmp_path)
    for content, reason in [
        (link.read_bytes(), "'link' in 'in.tar' is a link, a device"),
        (bytes(secret), "'secret.png' in 'in.zip' is encrypted"),
        (whole[:-10], "'in.zip' is cut short or damaged"),
        (b"no archive", "'in.zip' is cut short or damaged"),
    ]:
        name = "in.tar" if "in.tar" in reason else "in.zip"
        assert reason in refused(zip_of(tmp_path / "a.zip", {"good.png": png(2), name: content}), tmp_path)


def test_the_limits_hold_for_all_archives_together(tmp_path: Path) -> None:
    inner = packed("in.zip", {f"{i}.png": os.urandom(10_000) for i in range(3)}, tmp_path)
    archive = zip_of(tmp_path / "a.zip", {"one.zip": inner, "two.zip": inner})
    assert "limit of 7 entries" in refused(archive, tmp_path, ArchiveLimits(max_entries=7))
    assert len(tree(unpack(archive, tmp_path / "sources", ArchiveLimits(max_entries=8)))) == 6
    shutil.rmtree(tmp_path / "sources")
    assert "limit of 100,000 unpacked" in refused(archive, tmp_path, ArchiveLimits(max_unpacked_bytes=100_000))
    bomb = zip_bomb(tmp_path / "bomb.zip", 40)
    twice = {f"{i}.zip": bomb.read_bytes() for i in range(3)}
    bomb.unlink()
    assert "as a zip bomb does" in refused(zip_of(tmp_path / "b.zip", twice), tmp_path)


def test_two_files_of_one_name_are_refused_across_archives(tmp_path: Path) -> None:
    inner = packed("in.zip", {"a.png": png(1)}, tmp_path)
    for name in ("train/a.png", "train.tar.gz"):
        other = inner if name == "train/a.png" else packed(name, {"A.png": png(2)}, tmp_path)
        assert "the same name as another" in refused(
            zip_of(tmp_path / "a.zip", {name: other, "train.zip": inner}), tmp_path
        )
    assert "cannot be a file" in refused(zip_of(tmp_path / "a.zip", {"train": b"", "train.zip": inner}), tmp_path)


def test_what_macos_keeps_beside_an_archive_is_no_archive(tmp_path: Path) -> None:
    files = {"__MACOSX/._train.zip": b"\0\5\x16\7", "._b.zip": b"x", ".zip": b"x", "a.png": png(1)}
    assert tree(unpack(zip_of(tmp_path / "a.zip", files), tmp_path / "sources")) == files


def test_what_an_earlier_version_left_packed_is_unpacked_again(tmp_path: Path) -> None:
    inner = packed("train.zip", {"a.png": png(1)}, tmp_path)
    archive = zip_of(tmp_path / "a.zip", {"train.zip": inner})
    folder = unpack(archive, tmp_path / "sources")
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "train.zip").write_bytes(inner)
    assert unpack(archive, tmp_path / "sources") == folder
    assert tree(folder) == {"train/a.png": png(1)}


def test_an_archive_of_many_files_is_flushed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file each took a minute for 200,000 of them."""
    flushed: list[int] = []
    fsync = os.fsync

    def counted(descriptor: int) -> None:
        flushed.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", counted)
    archive = zip_of(tmp_path / "a.zip", {f"{i}.png": b"1" for i in range(1500)})
    assert len(tree(unpack(archive, tmp_path / "sources"))) == 1500
    assert len(flushed) < 10 or sys.platform != "linux"
