"""Explanations: what a network looks at in some images, and what its classes, channels and filters respond to.

<folder>/
  <number>-<image's name>.png              the image, Grad-CAM of two classes, occlusion
  <number>-<image's name>-activations.png  activations layer by layer
  filters.png                              filters of the first layers
  classes.png                              activation maximisation of classes
  channels.png                             of channels, and the training images that activate them most
  explain.html                             all of it on one page, with how to read each picture and its source
  made.json                                what they were made from: see models/pages/fingerprint.py
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.errors import ImageError, InputError, SettingError
from darkroom.data.figures import count
from darkroom.data.files.atomic import atomic_folder, remove_folder
from darkroom.data.files.hashing import content_version
from darkroom.data.images.decode import decode
from darkroom.data.images.decoder_fingerprint import decoder
from darkroom.data.progress import Progress, counted, unseen
from darkroom.data.settings import DecoderMismatch
from darkroom.data.stores.listing import printable, read_file
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle.bundle import Bundle, check_decoder
from darkroom.models.evaluation.reporting.report import CorrectPrediction, most_confident, read_report
from darkroom.models.evaluation.reporting.split_predictions import PREDICTIONS
from darkroom.models.explaining.explain_page import Explanation, ShownImage, explain_page
from darkroom.models.explaining.techniques.maximally_activating import MAX_SEARCHED, ImageSearch
from darkroom.models.explaining.views import ImageView, NetworkView, ViewedNetwork, view_image, view_network
from darkroom.models.networks.layers import feature_maps, unmirrored
from darkroom.models.pages.fingerprint import MADE_CARD, files_up_to_date, fingerprint_of, write_fingerprint
from darkroom.models.pages.navigation import EXPLAIN_FOLDER, EXPLAIN_PAGE
from darkroom.models.pages.page import write_page
from darkroom.models.pages.panels import Panel, sheet

logger = logging.getLogger(__name__)

# All of their pictures are in memory at once, about 1 MB per image.
MAX_IMAGES = 64
MAX_CLASSES = 10
_STEP, _DRAW = "explain", "draw"
# Raised whenever the same network and images would give other pictures.
_CODE_VERSION = 2
_OURS = re.compile(r"explain\.html|made\.json|(\d{3}-[A-Za-z0-9._-]+|filters|classes|channels)\.png")


@dataclass(frozen=True)
class Explained:
    """What an explanation came to.

    Attributes:
        page: `explain.html`.
        pictures: The picture files.
        quarantined: Path and reason of each image that cannot be read.
        reused: Whether all of it was up to date.
    """

    page: Path
    pictures: tuple[Path, ...]
    quarantined: tuple[tuple[str, str], ...]
    reused: bool


@dataclass(frozen=True)
class _Loaded:
    """An image that can be read; `name` is that of its pictures, `truth` its text where the report knows its labels."""

    name: str
    path: str
    sha256: str
    pixels: NDArray[np.uint8]
    truth: str | None


@dataclass(frozen=True)
class ExplainRequest:
    """A network to explain, on which images, and where the pictures go.

    Attributes:
        bundle: The network to look into.
        images: At most 64 files.
        out: A folder that does not exist, is empty, or holds nothing but an earlier explanation.
        generated_by: The command, for the page.
        dataset: Searched for the images that activate a channel most; None leaves them out.
        max_searched: About how many of its training images are searched; 0 leaves them out.
        decoder_mismatch: What happens where the bundle was trained on another decoder's images: `warn` explains all the
            same, `strict` refuses.

    Raises:
        InputError: where `out` holds other files.
        SettingError: where there are too many images, or the data set's images have another size.
    """

    bundle: Bundle
    images: Sequence[Path]
    out: Path
    generated_by: str
    dataset: Dataset | None = None
    max_searched: int = MAX_SEARCHED
    decoder_mismatch: DecoderMismatch = "warn"

    def __post_init__(self) -> None:
        if not 1 <= len(self.images) <= MAX_IMAGES:
            raise SettingError(f"A page holds 1 to {MAX_IMAGES} images, not {len(self.images)}. Explain fewer at once.")
        self._check_dataset()
        self._check_out()

    def _check_dataset(self) -> None:
        if self.dataset and self.dataset.card.policy.image_size != self.bundle.card.policy.image_size:
            ours, theirs = (
                " x ".join(map(str, card.policy.image_size)) for card in (self.bundle.card, self.dataset.card)
            )
            raise SettingError(
                f"The images of {self.dataset.reference} are {theirs}, {self.bundle.reference} takes {ours}. Choose a "
                "data set with the model's image size."
            )

    def _check_out(self) -> None:
        out = self.out
        if out.exists():
            names = [path.name for path in out.iterdir()] if out.is_dir() else [out.name]
            others = sorted(name for name in names if not _OURS.fullmatch(name) or not out.is_dir())
            if others:
                raise InputError(
                    f"{out} holds other files, such as {printable(others[0])}. Choose an empty or new folder."
                )


def explain_images(request: ExplainRequest, progress: Progress = unseen) -> Explained:
    """Write all pictures and the page into a folder, whole or not at all; those of an earlier run are replaced.

    They stay where they were made from the same network, images, data set and libraries.

    Args:
        request: What is explained.
        progress: Told what is drawn, and how far that is.

    Raises:
        InputError: where not one image can be read, or, with `strict`, the decoder is another one.
        SettingError: where the network has no convolutional layer.
    """
    bundle, out = request.bundle, request.out
    check_decoder(bundle, decoder(), request.decoder_mismatch)
    loaded, quarantined = _load(bundle, request.images)
    fingerprint = _fingerprint(request, loaded, quarantined)
    if before := files_up_to_date(out, fingerprint):
        logger.info("%s already explained: %s", count(len(loaded), "image"), out / EXPLAIN_PAGE)
        return _explained(out, before, quarantined, reused=True)
    logger.info("Explaining %s on %s", bundle.reference, count(len(loaded), "image"))
    labels, answers = bundle.labels, bundle.answers
    runner, model = bundle.runner(), unmirrored(bundle.keras_model())
    feature_maps(model)  # refuses a network without, before any work

    def probabilities(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        return bundle.probabilities(runner(pixels), "images to explain")

    seen = ViewedNetwork(model, probabilities, labels.names)
    chances = probabilities(np.stack([item.pixels for item in loaded]))
    given = answers.given(chances)
    classes = _shown_classes(given, len(labels))
    views = []
    progress(_STEP, 0, len(loaded))
    for number, item in enumerate(loaded, start=1):
        truth = None if item.truth is None else labels.truth([labels.indices(item.truth)])
        pair = answers.looked_at(chances[number - 1 : number], truth)
        views.append(view_image(seen, item.pixels, pair, classes))
        logger.info("Explained image %d of %d: %s", number, len(loaded), item.path)
        progress(_STEP, number, len(loaded))
    logger.info(
        "Drawing filters and what activates classes and channels; searching at most %s",
        count(request.max_searched, "image"),
    )
    contributions = np.mean([view.contributions for view in views], axis=0)
    search = ImageSearch(request.dataset, request.max_searched) if request.dataset and request.max_searched else None
    network = view_network(seen, classes, contributions, search, progress)
    shown = [
        ShownImage(
            item.name,
            item.path,
            labels.task.shown(labels.text(indices)),
            confidence,
            None if item.truth is None else labels.task.shown(item.truth),
            view,
        )
        for item, indices, confidence, view in zip(
            loaded, given, answers.confidence(chances).tolist(), views, strict=True
        )
    ]
    page = explain_page(Explanation(bundle, tuple(shown), network, quarantined, request.generated_by))
    with atomic_folder(out) as temporary:
        names = _write_sheets(temporary, loaded, views, network, progress)
        write_page(temporary / EXPLAIN_PAGE, page)
        write_fingerprint(temporary, fingerprint, (*names, EXPLAIN_PAGE))
        remove_folder(out)
    logger.info("Explained %s: %s", count(len(views), "image"), out / EXPLAIN_PAGE)
    return _explained(out, names, quarantined, reused=False)


def find_explained(request: ExplainRequest) -> Explained | None:
    """The pictures that `explain_images` would leave as they are; None where it would draw some."""
    if not (request.out / MADE_CARD).is_file():
        return None  # without a look at the images
    loaded, quarantined = _load(request.bundle, request.images)
    names = files_up_to_date(request.out, _fingerprint(request, loaded, quarantined))
    return _explained(request.out, names, quarantined, reused=True) if names else None


def _fingerprint(request: ExplainRequest, loaded: Sequence[_Loaded], quarantined: tuple[tuple[str, str], ...]) -> str:
    """A content version of all that the pictures are made from."""
    return fingerprint_of(
        _CODE_VERSION,
        request.bundle.card.model_dump(mode="json"),
        [(item.name, item.path, item.sha256, item.truth) for item in loaded],
        quarantined,
        request.dataset.card.model_dump(mode="json") if request.dataset else None,
        request.max_searched,
        request.generated_by,
        decoder().fingerprint,
    )


def _explained(out: Path, names: Sequence[str], quarantined: tuple[tuple[str, str], ...], reused: bool) -> Explained:
    pictures = tuple(out / name for name in names if name != EXPLAIN_PAGE)
    return Explained(out / EXPLAIN_PAGE, pictures, quarantined, reused)


def find_searched(place: Workspace, dataset: str | None, default: str) -> Path | None:
    """The folder of the data set to search for activating images; None where the default one is not in the workspace.

    Args:
        place: The workspace.
        dataset: A reference that the user named, or None.
        default: The reference of the data set that the bundle was trained on.

    Raises:
        InputError: where the named data set does not exist.
    """
    if dataset:
        return place.find_dataset(dataset)
    try:
        return place.find_dataset(default)
    except InputError:
        return None


def choose_examples(bundle: Bundle, num_wrong: int = 4, num_right: int = 4) -> list[str]:
    """Paths of images worth a look: the report's worst mistakes, and the most confident correct predictions by class.

    Args:
        bundle: Evaluated before.
        num_wrong: The most mistakes.
        num_right: The most correct predictions.

    Raises:
        FormatError: where the bundle was not evaluated.
    """
    report = read_report(bundle.report_folder)
    wrong = [mistake.path for mistake in report.worst_mistakes[:num_wrong]]
    rows = pq.read_table(bundle.report_folder / PREDICTIONS, columns=["path", "truth", "predicted", "confidence"])
    correct = [
        CorrectPrediction(row["path"], _text(bundle, row["truth"]), row["confidence"])
        for row in rows.to_pylist()
        if row["truth"] == row["predicted"]
    ]
    correct.sort(key=lambda item: (-item.confidence, item.path))
    return wrong + [item.path for item in most_confident(correct, num_right)]


def explanation_folder(bundle: Bundle, images: Sequence[str]) -> Path:
    """The folder for an explanation of images that a user names: one per choice of images, in the bundle's report.

    `report/explain` is for the report's own images.

    Args:
        bundle: The network.
        images: Paths or URLs as named; the same ones give the same folder.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", PurePosixPath(images[0]).stem)[:40].strip("._-") if images else ""
    parts = (EXPLAIN_FOLDER, name, content_version(list(images)))
    return bundle.report_folder / "-".join(part for part in parts if part)


def _load(bundle: Bundle, images: Sequence[Path]) -> tuple[list[_Loaded], tuple[tuple[str, str], ...]]:
    """The images that can be read, and of the others path and reason; raises InputError where none can be read."""
    found: list[tuple[int, Path, bytes, NDArray[np.uint8]]] = []
    quarantined: list[tuple[str, str]] = []
    for number, path in enumerate(images):
        try:
            data = read_file(path.parent, path.name, bundle.card.policy.max_bytes)
            found.append((number, path, data, decode(data, bundle.card.policy)))
        except ImageError as error:
            quarantined.append((printable(str(path)), error.reason))
    if not found:
        reasons = ", ".join(f"{name} ({reason})" for name, reason in quarantined[:5])
        raise InputError(f"None of the images can be read: {reasons}. Give the paths of image files.")
    hashes = [hashlib.sha256(data).hexdigest() for _, _, data, _ in found]
    truths = _known_truths(bundle, hashes)
    loaded = [
        _Loaded(
            name=f"{number:03d}-{re.sub(r'[^A-Za-z0-9._-]+', '_', path.stem)[:60]}",
            path=printable(str(path)),
            sha256=sha256,
            pixels=pixels,
            truth=truths.get(sha256),
        )
        for (number, path, _, pixels), sha256 in zip(found, hashes, strict=True)
    ]
    return loaded, tuple(quarantined)


def _text(bundle: Bundle, stored: str | list[str]) -> str:
    """The text of a label, or of labels, in `predictions.parquet`."""
    return bundle.labels.task.text([stored] if isinstance(stored, str) else stored)


def _known_truths(bundle: Bundle, hashes: Sequence[str]) -> dict[str, str]:
    """The text of the labels by SHA-256 of the images that the bundle was evaluated on."""
    predictions = bundle.report_folder / PREDICTIONS
    if not predictions.is_file():
        return {}
    rows = pq.read_table(predictions, columns=["sha256", "truth"], filters=[("sha256", "in", list(hashes))]).to_pylist()
    return {row["sha256"]: _text(bundle, row["truth"]) for row in rows}


def _shown_classes(given: Sequence[tuple[int, ...]], num_classes: int) -> list[int]:
    """At most ten classes: those predicted, most often first, then the others; in label map order."""
    named = np.array([index for indices in given for index in indices], np.int64)
    counts = np.bincount(named, minlength=num_classes)
    return sorted(np.argsort(-counts, kind="stable")[:MAX_CLASSES].tolist())


def _write_sheets(
    folder: Path, loaded: Sequence[_Loaded], views: Sequence[ImageView], network: NetworkView, progress: Progress
) -> list[str]:
    """Write every picture to a file; returns their names."""
    sheets: dict[str, Sequence[Sequence[Panel]]] = {}
    for item, view in zip(loaded, views, strict=True):
        sheets[f"{item.name}.png"] = [view.panels]
        sheets[f"{item.name}-activations.png"] = [[panel] for panel in view.activations]
    sheets["filters.png"] = [[panel] for panel in network.filters]
    sheets["classes.png"] = [network.classes[at : at + 5] for at in range(0, len(network.classes), 5)]
    sheets["channels.png"] = [(view.maximised, *(image.panel for image in view.images)) for view in network.channels]
    progress(_DRAW, 0, len(sheets))
    for name, rows in counted(sheets.items(), progress, _DRAW, 0, len(sheets)):
        if rows:
            (folder / name).write_bytes(sheet(rows, 2.2 if len(rows[0]) > 1 else 5.5))
    return [name for name, rows in sheets.items() if rows]
