"""The page of a source or a data set.

<folder>/
  label.html         a page to correct suspected label errors on, where there are any (label_error_page.py)
  dataset.html       one file for people: pictures inside, no script, nothing fetched from anywhere
  inspection.json    the same for programs; written last, its presence means done
  made.json          of a source: what both were made from (models/pages/fingerprint.py)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from darkroom.data.errors import ImageError, SourceError
from darkroom.data.files.atomic import write_json
from darkroom.data.images.decode import decode
from darkroom.data.images.decoder_fingerprint import decoder
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.images.pixels.encode import encode_jpeg
from darkroom.data.ingest.plan import source_fingerprint
from darkroom.data.ingest.request import IngestSettings
from darkroom.data.quality.assessment import Check, ClassBalance
from darkroom.data.sources.resolve import Source
from darkroom.data.stores.listing import list_files, read_file
from darkroom.data.stores.workspace import INSPECTION_CARD
from darkroom.models.inspecting.inspection import Inspection, QuarantinedFile, read_inspection
from darkroom.models.labelling.label_page import LABEL_PAGE
from darkroom.models.pages.fingerprint import MADE_CARD, files_up_to_date, fingerprint_of, write_fingerprint
from darkroom.models.pages.navigation import DATASET_PAGE
from darkroom.models.pages.page import data_uri, render, write_page

# Raised whenever the same source would give another page.
_CODE_VERSION = 1
# Of each kind; a thumbnail is about 5 KB, so a page with all of them has 2 MB.
MAX_SHOWN = 24
MAX_LABEL_ERRORS = 60
_MAX_CLASSES = 100
_MAX_FILES = 50
_MAX_FILES_PER_REASON = 8
_THUMBNAIL_SIDE = 140
_THUMBNAIL_GREY = (244, 244, 244)


@dataclass(frozen=True)
class _Kind:
    """How a check is described: its title, its meaning, and a finding's value with its unit."""

    title: str
    meaning: str
    value: str


_KINDS = {
    "blank": _Kind("Blank", "A single colour: the standard deviation of luminance is below {:.3g} of 255.",
                   "contrast {:.1f}"),
    "blurry": _Kind("Blurry", "Out of focus or moved: the standard deviation of the Laplacian is below {:.3g} times "
                    "that of luminance, far below the rest.", "sharpness {:.3f}"),
    "few_tones": _Kind("Little content", "Almost nothing but a few tones: the entropy of luminance is below {:.3g} "
                       "bits, far below the rest.", "{:.1f} bits"),
    "dark": _Kind("Very dark", "Mean luminance is below {:.3g} of 255, far below the rest.",
                  "luminance {:.0f}"),
    "bright": _Kind("Very bright", "Mean luminance is above {:.3g} of 255, far above the rest.",
                    "luminance {:.0f}"),
    "clipped": _Kind("Clipped", "More than {:.0%} of the pixels are pure black or pure white.", "{:.0%} clipped"),
    "small": _Kind("Very small", "The shorter side is below {:.3g} pixels: enlarged more than twofold for the network, "
                   "and much smaller than the rest.", "{:.0f} pixels"),
    "elongated": _Kind("Very elongated", "The longer side is more than {:.3g} times the shorter.", "{:.1f} : 1"),
}  # fmt: skip


def write_inspection(folder: Path, inspection: Inspection, thumbnails: Mapping[str, bytes]) -> None:
    """Write `dataset.html`, then `inspection.json`; each appears whole or not at all.

    A page of suspected label errors that is there already is linked.

    Args:
        folder: Made where it does not exist.
        inspection: What to write.
        thumbnails: JPEG or PNG bytes by path; an image without one is shown without a picture.

    Raises:
        WorkError: where a thumbnail is neither JPEG nor PNG.
    """
    page = _page(inspection, thumbnails, LABEL_PAGE if (folder / LABEL_PAGE).is_file() else None)
    folder.mkdir(parents=True, exist_ok=True)
    write_page(folder / DATASET_PAGE, page)
    write_json(folder / INSPECTION_CARD, inspection.model_dump(mode="json"))


def mark_up_to_date(folder: Path, listing: str, generated_by: str) -> None:
    """Write what the inspection of a source was made from, by which `find_inspection` finds it.

    Args:
        folder: Of the page.
        listing: The source's `listing_fingerprint`.
        generated_by: See `Inspection`; with all options that change the page.
    """
    fingerprint = _fingerprint(listing, generated_by)
    write_fingerprint(folder, fingerprint, (DATASET_PAGE, INSPECTION_CARD))


def find_inspection(source: Source, settings: IngestSettings, folder: Path, generated_by: str) -> Inspection | None:
    """The inspection of a source that would be made again as it is; None where it would be another.

    Args:
        source: The source.
        settings: Of the inspection.
        folder: Of the page.
        generated_by: See `mark_up_to_date`.
    """
    if not (folder / MADE_CARD).is_file():
        return None  # without a look at the files
    listing = source_fingerprint(source, settings, list_files(source.folder))
    is_done = files_up_to_date(folder, _fingerprint(listing, generated_by))
    return read_inspection(folder) if is_done else None


def _fingerprint(listing: str, generated_by: str) -> str:
    return fingerprint_of(_CODE_VERSION, listing, generated_by, decoder().fingerprint)


def source_thumbnails(folder: Path, inspection: Inspection) -> dict[str, bytes]:
    """Small JPEGs, by path, of the images that the page shows, undistorted, read from the source.

    An image that is gone, or is no longer an image, is left out.

    Args:
        folder: The source's.
        inspection: What the page shows.
    """
    shown = _shown_paths(inspection)
    policy = inspection.policy.model_copy(
        update={
            "image_size": (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE),
            "resize": "pad",
            "padding": _THUMBNAIL_GREY,
            "interpolation": "bilinear",
        }
    )
    try:
        entries = [entry for entry in list_files(folder) if entry.path in shown and entry.reason is None]
    except SourceError:
        return {}
    pictures = {entry.path: _thumbnail(folder, entry.os_path, policy) for entry in entries}
    return {path: picture for path, picture in pictures.items() if picture}


def _thumbnail(folder: Path, os_path: str, policy: DecodePolicy) -> bytes | None:
    try:
        return encode_jpeg(Image.fromarray(decode(read_file(folder, os_path, policy.max_bytes), policy)), 85)
    except ImageError:
        return None


def _shown_paths(inspection: Inspection) -> set[str]:
    errors = inspection.label_errors.suspected[:MAX_LABEL_ERRORS] if inspection.label_errors else ()
    paths = {error.path for error in errors}
    for check in inspection.quality.checks:
        paths |= {finding.path for finding in check.findings[:MAX_SHOWN]}
    for pair in inspection.copies[:MAX_SHOWN]:
        paths |= {pair.path, pair.other}
    paths |= {example.path for example in inspection.examples}
    crashed = {file.path for file in inspection.set_aside if file.reason == "decoder_crashed"}
    return (paths | {file.path for _, files in _quarantined(inspection) for file in files}) - crashed


def _quarantined(inspection: Inspection) -> list[tuple[str, list[QuarantinedFile]]]:
    """A few files for each reason, the most frequent reason first."""
    listed = inspection.set_aside
    files = [(row.reason, [file for file in listed if file.reason == row.reason]) for row in inspection.quality.reasons]
    return [(reason, found[:_MAX_FILES_PER_REASON]) for reason, found in files if found]


def _examples(inspection: Inspection) -> list[tuple[str, list[str]]]:
    """The paths of each class's examples, in the order of the classes."""
    found: dict[str, list[str]] = {}
    for example in inspection.examples:
        found.setdefault(example.label, []).append(example.path)
    return list(found.items())


def _page(inspection: Inspection, thumbnails: Mapping[str, bytes], label_page: str | None) -> str:
    quality = inspection.quality
    shown = _shown_paths(inspection)
    errors = inspection.label_errors
    classes = sorted(quality.classes, key=lambda row: (-row.num_images, row.label))
    return render(
        "dataset.html.j2",
        inspection=inspection,
        quality=quality,
        num_quarantined=quality.num_files - quality.num_ok,
        examples=_examples(inspection),
        quarantined=_quarantined(inspection),
        num_findings=len({finding.path for check in quality.checks for finding in check.findings}),
        classes=_shortened(classes),
        largest=max((row.num_images for row in classes), default=0),
        errors=errors,
        label_page=label_page,
        corrected=inspection.corrections.classes[:_MAX_CLASSES] if inspection.corrections else (),
        shown_errors=errors.suspected[:MAX_LABEL_ERRORS] if errors else (),
        copies=inspection.copies[:MAX_SHOWN],
        files=inspection.set_aside[:_MAX_FILES],
        found=[(_KINDS[check.name], check, check.findings[:MAX_SHOWN]) for check in quality.checks if check.findings],
        clean=[_title(check) for check in quality.checks if not check.findings],
        spreads=[
            ("Width (pixels)", quality.widths),
            ("Height (pixels)", quality.heights),
            ("Mean luminance (0 to 255)", quality.mean_luminance),
            ("Contrast (standard deviation)", quality.contrast),
        ],
        thumbnails={path: data_uri(image, path) for path, image in thumbnails.items() if path in shown},
    )


def _title(check: Check) -> str:
    return _KINDS[check.name].title.lower()


def _shortened(classes: Sequence[ClassBalance]) -> Sequence[ClassBalance]:
    """Of very many classes the largest and the smallest."""
    half = _MAX_CLASSES // 2
    return classes if len(classes) <= _MAX_CLASSES else [*classes[:half], *classes[-half:]]
