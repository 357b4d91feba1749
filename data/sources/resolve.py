"""Sources: a folder, an archive, a URL, `kaggle:…` or `sample:…`, resolved to a local folder."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from darkroom.data.errors import SourceError
from darkroom.data.figures import count
from darkroom.data.files.hashing import content_version
from darkroom.data.files.locks import exclusive
from darkroom.data.sources import arrays, kaggle, parquet_images, samples
from darkroom.data.sources.parquet_images import PARQUET_SUFFIX
from darkroom.data.sources.unpacking import archives
from darkroom.data.sources.unpacking.archive_folder import archive_folder
from darkroom.data.stores.listing import check_folder, has_files, printable
from darkroom.data.stores.mirror import Mirror
from darkroom.data.stores.storage import Url, place_from
from darkroom.data.stores.workspace import Workspace, name_from

logger = logging.getLogger(__name__)

_FORMS = (
    "a folder of images or of archives, a .zip, .tar, .tar.gz or .tgz file, a .npz file of data and labels, a .parquet "
    "file of images, any of these at s3://, gs:// or az://, kaggle:owner/dataset, kaggle:owner/dataset/versions/N, "
    "kaggle:competitions/NAME or sample:NAME"
)


_LOCAL = ("folder", "archive", "arrays", "parquet")


@dataclass(frozen=True)
class Source:
    """Images on this machine.

    Attributes:
        reference: As given on the command line.
        folder: The local folder with the images, absolute; not to be written to.
        name: A name for the data set, should none be given.
        kind: `folder`, `archive`, `arrays`, `parquet`, `store` (a folder in one), `kaggle` or `sample`.
        licence: Of the images, where it is known.
        citation: Whom to cite, where it is known.
        new_images: Of a sample: a folder of images without labels that were kept back, to be scored.
    """

    reference: str
    folder: Path
    name: str
    kind: str
    licence: str | None = None
    citation: str | None = None
    new_images: Path | None = None

    @property
    def identity(self) -> str:
        """What of the source belongs to the content of a data set: not how its path was written."""
        return self.kind if self.kind in _LOCAL else self.reference

    @property
    def location(self) -> str:
        """Where it is, however its path was written."""
        return os.path.realpath(self.folder) if self.kind in _LOCAL else self.reference


def resolve(reference: str, workspace: Workspace) -> Source:
    """Find, download, unpack or create the folder that a reference names; later runs find it again.

    Args:
        reference: A folder (used as it lies, unless it holds nothing but archives), an archive, a `.npz` of arrays, the
            URL of one of these, `kaggle:…` or `sample:NAME`. A folder whose name looks like one of those is written
            `./sample:NAME`.
        workspace: Archives, arrays and samples are unpacked below its `sources`, and what is at a URL is fetched
            there; Kaggle's go to kagglehub's own cache.

    Raises:
        SourceError: with what to do, where there is no such source, it is empty, or it cannot be fetched or unpacked.
        WorkError: where the disk is full.
    """
    scheme, _, rest = reference.partition(":")
    if scheme == "kaggle":
        fetched = kaggle.fetch(rest)
        folder = _readable(_not_empty(fetched.folder), workspace)
        return Source(reference, folder, name_from(fetched.name), "kaggle", fetched.licence)
    if scheme == "sample":
        sample = samples.find_sample(rest)
        folder = samples.make_sample(sample, workspace.sources)
        return Source(
            reference, folder / "images", sample.name, "sample", sample.licence, sample.citation, folder / "new"
        )
    place = place_from(reference) if "://" in reference else Path(reference)
    if isinstance(place, Url):
        return _fetched(place, workspace)
    path = Path(os.path.abspath(place))
    if reference and os.path.isdir(path):
        if parquet := parquet_images.image_parquet(path):
            written = parquet_images.write_images(parquet, workspace.sources)
            return Source(reference, written, name_from(path.name), "parquet")
        if packed := archive_folder(path):
            return Source(reference, packed.unpack(workspace.sources), name_from(path.name), "archive")
        return Source(reference, _not_empty(path), name_from(path.name), "folder")
    if os.path.isfile(path):
        return _unpacked(reference, path, workspace)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", reference):
        raise SourceError(f"{printable(reference)!r} begins with {scheme + ':'!r}, which is unknown. Give {_FORMS}.")
    raise SourceError(f"There is no folder or archive {printable(reference)!r} in {Path.cwd()}. Give {_FORMS}.")


def at_hand(reference: str, workspace: Workspace) -> Source | None:
    """The source, where nothing has to be downloaded, unpacked or written first; None where something has.

    What is in a store or at Kaggle may have changed there, and is never at hand.

    Args:
        reference: As for `resolve`.
        workspace: As for `resolve`.

    Raises:
        SourceError: as `resolve` does.
    """
    scheme, _, rest = reference.partition(":")
    if scheme == "kaggle" or "://" in reference:
        return None
    path = Path(os.path.abspath(reference))
    if scheme == "sample":
        is_there = (workspace.sources / samples.find_sample(rest).key).is_dir()
    elif not os.path.isdir(path) and archives.is_archive(path) and os.path.isfile(path):
        is_there = archives.is_unpacked(archives.unpacked_folder(path, workspace.sources))
    elif parquet := parquet_images.image_parquet(path) if os.path.exists(path) else None:
        is_there = parquet.images_folder(workspace.sources).is_dir()
    elif os.path.isdir(path) and (packed := archive_folder(path)):
        is_there = archives.is_unpacked(packed.unpacked_folder(workspace.sources))
    elif not os.path.isdir(path) and arrays.is_array_file(path) and os.path.isfile(path):
        is_there = arrays.images_folder(path, workspace.sources).is_dir()
    else:
        return resolve(reference, workspace)
    return resolve(reference, workspace) if is_there else None


def _unpacked(reference: str, path: Path, workspace: Workspace) -> Source:
    """A file with images in it, as a folder."""
    if arrays.is_array_file(path):
        return Source(reference, arrays.write_images(path, workspace.sources), name_from(path.stem), "arrays")
    if parquet := parquet_images.image_parquet(path):
        written = parquet_images.write_images(parquet, workspace.sources)
        return Source(reference, written, name_from(path.stem), "parquet")
    if not archives.is_archive(path):
        raise SourceError(f"{printable(reference)} is a file that is no known archive. Give {_FORMS}.")
    return Source(reference, archives.unpack(path, workspace.sources), name_from(path.name), "archive")


def _fetched(url: Url, workspace: Workspace) -> Source:
    """What is at a URL, in `sources/<hash of the URL>/`: fetched again only as far as it has changed there."""
    base = workspace.sources / content_version(str(url))
    with exclusive(base):
        name = Path(url.name)
        is_file = archives.is_archive(name) or arrays.is_array_file(name) or name.suffix.lower() == PARQUET_SUFFIX
        if "/" in url.path and is_file:
            mirror = Mirror(url.parent, base)
            if mirror.pull_one(url.name):
                return _unpacked(str(url), mirror.folder / url.name, workspace)
        mirror = Mirror(url, base)
        logger.info("%s: %s fetched into %s", url, count(mirror.copy_exactly(), "file"), mirror.folder)
        if not has_files(mirror.folder):
            raise SourceError(f"{url} holds no object. Give the URL of the folder that holds the images.")
        return Source(str(url), _readable(mirror.folder, workspace), name_from(url.name), "store")


def _readable(folder: Path, workspace: Workspace) -> Path:
    """A fetched folder; or its Parquet files of images, or its archives, as a folder where it holds nothing else."""
    if parquet := parquet_images.image_parquet(folder):
        return parquet_images.write_images(parquet, workspace.sources)
    packed = archive_folder(folder)
    return packed.unpack(workspace.sources) if packed else folder


def _not_empty(folder: Path) -> Path:
    """The folder, where there is at least one file anywhere in it."""
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise SourceError(
            f"The folder {printable(str(folder))} cannot be listed: {error.strerror}. Allow reading, or give another."
        ) from None
    check_folder(folder)
    if not has_files(folder):
        raise SourceError(f"The folder {printable(str(folder))} holds no file. Give the folder that holds the images.")
    return folder
