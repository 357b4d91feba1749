"""Labels in XML: CVAT for images, one file for all of them, and Pascal VOC, one file for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import defusedxml.ElementTree

from darkroom.data.errors import LabelError
from darkroom.data.split_names import split_named
from darkroom.data.stores.listing import FileEntry, printable
from darkroom.data.tables.matching import Names
from darkroom.data.tables.table import Rows, Table, folder_in

MAX_XML_BYTES = 128 * 2**20
_MAX_VOC_BYTES = 2**20


def read_cvat(file: Path, source: Path) -> Table | None:
    """The tags of an export "CVAT for images 1.1", with its subsets as splits; None where it is no such file.

    Where there are no tags, the classes of boxes and outlines are the images'; otherwise these are not used.

    Args:
        file: The file.
        source: The folder that it belongs to.

    Raises:
        LabelError: where it is too large.
    """
    name = printable(file.name)
    if file.stat().st_size > MAX_XML_BYTES:
        raise LabelError(f"{name} is larger than {MAX_XML_BYTES >> 20} MiB. Save its paths and labels as CSV.")
    root = _parsed(file.read_bytes())
    if root is None or root.tag != "annotations" or root.find("image") is None:
        return None
    tags: list[tuple[int, tuple[str, str, str]]] = []
    shapes: list[tuple[int, tuple[str, str, str]]] = []
    drawn: list[str] = []
    for number, image in enumerate(root.iter("image"), start=1):
        path, subset = image.get("name", ""), image.get("subset", "")
        of_tags = dict.fromkeys(tag.get("label", "") for tag in image.findall("tag"))
        of_shapes = [shape.get("label", "") for shape in image if shape.tag != "tag"]
        drawn += [path] * len(of_shapes)
        tags += [(number, (path, label, subset)) for label in of_tags]
        shapes += [(number, (path, label, subset)) for label in dict.fromkeys(of_shapes)]
    rows = tags or shapes
    if any(row[2] for _, row in rows):
        found = Rows(("name", "label", "subset"), rows)
    else:
        found = Rows(("name", "label"), [(number, row[:2]) for number, row in rows])
    found.unused["boxes and outlines"] = drawn
    return found.table(name, folder_in(file, source), unit="image")


def read_voc(folder: Path, entries: Sequence[FileEntry], names: Names) -> Table | None:
    """The objects of all Pascal VOC files of a source, with the splits of `ImageSets/Main`.

    Args:
        folder: The source.
        entries: All its files.
        names: Its images.

    Returns:
        The table; None where there is no such file.
    """
    files = [entry for entry in entries if entry.path.lower().endswith(".xml") and entry.size_bytes <= _MAX_VOC_BYTES]
    rows: list[tuple[int, tuple[str, str]]] = []
    used: set[str] = set()
    drawn: list[str] = []
    damaged: list[str] = []
    for entry in files:
        root = _parsed((folder / entry.os_path).read_bytes())
        if root is None:
            damaged.append(entry.path)
        if root is None or root.tag != "annotation" or not root.findtext("filename"):
            continue
        used.add(entry.path)
        objects = [each.findtext("name", "").strip() for each in root.findall("object")]
        drawn += [entry.path] * sum(each.find("bndbox") is not None for each in root.findall("object"))
        rows += [(len(used), (_image_of(root, entry, names), label)) for label in dict.fromkeys(objects)]
    if not used:
        return None
    folders = {path.rpartition("/")[0] for path in used}
    inside = folders.pop() if len(folders) == 1 else ""
    splits, lists = _image_sets(folder, entries)
    used |= lists
    header: tuple[str, ...] = ("filename", "label")
    cells: list[tuple[int, tuple[str, ...]]] = list(rows)
    if splits:
        header = (*header, "split")
        cells = [(number, (*row, splits.get(_stem(row[0]), ""))) for number, row in rows]
    found = Rows(header, cells, unused={"boxes": drawn, "XML files that cannot be read": damaged})
    return found.table("*.xml", inside, unit="file", files=frozenset(used))


def _image_of(root: ElementTree.Element, entry: FileEntry, names: Names) -> str:
    """The image that a VOC file is about: the one it names, or where that is not here the one of its own name."""
    named = root.findtext("filename", "").strip()
    return named if names.is_path(named) else _stem(entry.path)


def _image_sets(folder: Path, entries: Sequence[FileEntry]) -> tuple[dict[str, str], set[str]]:
    """Splits by the name of an image without its suffix, from `ImageSets/Main/train.txt` and the like; and all lists.

    Lists of one class, `cat_train.txt`, repeat what the files say; `trainval.txt` is the two together.
    """
    lists = [entry for entry in entries if PurePosixPath(entry.path).parts[-3:-1] == ("ImageSets", "Main")]
    splits: dict[str, str] = {}
    for entry in sorted(lists, key=lambda each: each.path):
        split = split_named(_stem(entry.path))
        if split and entry.path.lower().endswith(".txt"):
            for stem in _lines(folder / entry.os_path):
                if splits.setdefault(stem, split) != split:
                    raise LabelError(
                        f"{entry.path} puts {printable(stem)!r} into the {split} part, another list into the "
                        f"{splits[stem]} part. Correct one of the two."
                    )
    return splits, {entry.path for entry in lists}


def _lines(file: Path) -> Iterator[str]:
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.strip():
            yield line.split()[0]


def _stem(path: str) -> str:
    return PurePosixPath(path).stem


def _parsed(data: bytes) -> ElementTree.Element | None:
    """The tree; None where it is no XML, or has a document type, whose entities let a small file grow without end."""
    try:
        root: ElementTree.Element = defusedxml.ElementTree.fromstring(data, forbid_dtd=True)
        return root
    except (ElementTree.ParseError, ValueError, RecursionError, LookupError):
        return None
