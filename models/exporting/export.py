"""Export of a model: written, run on validation images, and kept only where it answers as the bundle does.

<out>/
  1/ (a SavedModel), model.tflite, model.xml and model.bin, model.onnx, or model.keras
  labels.txt      one label a line, in the order of the probabilities
  README.md       inputs, outputs, preprocessing, and a program that runs it
  export.json     the card, written last
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.errors import InputError, SettingError, WorkError
from darkroom.data.files.atomic import atomic_folder, remove_folder, write_json
from darkroom.data.files.cards import FileFact
from darkroom.data.files.provenance import library_versions
from darkroom.data.images.decode import decode
from darkroom.data.stores.listing import printable
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.exporting.card import EXPORT_CARD, ExportCard, read_export
from darkroom.models.exporting.forms import FORMS, FileNetwork, FormName, Network
from darkroom.models.exporting.readme import readme
from darkroom.models.onnx.inference import stored_batches

logger = logging.getLogger(__name__)

LABELS, README = "labels.txt", "README.md"
# Of probabilities: rounding differs by far less, a wrong operator by far more.
MAX_DIFFERENCE = 0.01
MAX_CHECKED = 1000
# Where files are decoded by other code, pixels differ by rounding, and probabilities by more than the network's own.
MAX_DIFFERENCE_OF_FILES = 0.1
MAX_FILES_CHECKED = 64
# Raised whenever the same bundle would give other files.
_CODE_VERSION = 1
_BATCH = 32
_NUM_GENERATED = 64


@dataclass(frozen=True)
class ModelExportRequest:
    """Which model is exported, in which form, and where it goes.

    Attributes:
        bundle: The model.
        form: The name of the form.
        out: A folder that does not exist, is empty, or holds an earlier export.
        dataset: Whose validation images it is checked on; None for the ready-made models, which have none: they are
            checked on generated images.

    Raises:
        InputError: where the form's package is not installed, or `out` holds other files.
        SettingError: where the data set's images have another size.
    """

    bundle: Bundle
    form: FormName
    out: Path
    dataset: Dataset | None = None

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise SettingError(f"There is no form {self.form!r} to export to. Use {', '.join(FORMS)}.")
        FORMS[self.form].check_installed()
        if self.dataset and self.dataset.card.policy.image_size != self.bundle.card.policy.image_size:
            ours, theirs = (
                " x ".join(map(str, card.policy.image_size)) for card in (self.bundle.card, self.dataset.card)
            )
            raise SettingError(
                f"The images of {self.dataset.reference} are {theirs}, {self.bundle.reference} takes {ours}. Choose a "
                "data set with the model's image size."
            )
        if self.out.is_dir() and not (self.out / EXPORT_CARD).is_file():
            others = sorted(path.name for path in self.out.iterdir() if not path.name.startswith("."))
            if others:
                raise InputError(
                    f"{self.out} holds other files, such as {printable(others[0])}. Choose an empty or new folder."
                )
        elif self.out.exists() and not self.out.is_dir():
            raise InputError(f"{self.out} is a file. Choose a new folder.")


def find_export(request: ModelExportRequest) -> ExportCard | None:
    """The card of an export that is up to date; None where there is none.

    Args:
        request: What is wanted.
    """
    card = read_export(request.out)
    wanted = (_CODE_VERSION, request.bundle.reference, request.form)
    return card if card and (card.code_version, card.model, card.form) == wanted else None


def export_model(request: ModelExportRequest) -> ExportCard:
    """Write the model, whole or not at all; one that is up to date is kept.

    Args:
        request: What is wanted.

    Raises:
        WorkError: where what was written does not answer as the bundle does.
    """
    found = find_export(request)
    if found:
        return found
    bundle, form = request.bundle, FORMS[request.form]
    with atomic_folder(request.out) as temporary:
        logger.info("Writing %s as %s", bundle.reference, request.form)
        form.write(bundle, temporary)
        checked = _checked(bundle, form.opened(temporary), request)
        if form.opened_for_files:
            worst = _checked_files(form.opened_for_files(temporary), request)
            checked = replace(checked, max_difference_of_files=worst)
        (temporary / LABELS).write_text("".join(f"{label}\n" for label in bundle.card.labels), encoding="utf-8")
        (temporary / README).write_text(readme(bundle, request.form, checked.said(request)), encoding="utf-8")
        files = sorted(path.relative_to(temporary).as_posix() for path in temporary.rglob("*") if path.is_file())
        card = ExportCard(
            code_version=_CODE_VERSION,
            model=bundle.reference,
            form=request.form,
            checked_on=request.dataset.reference if request.dataset else None,
            num_checked=checked.num_images,
            max_difference=checked.max_difference,
            max_difference_of_files=checked.max_difference_of_files,
            num_other_answers=checked.num_other_answers,
            libraries=library_versions(),
            files=tuple(FileFact.of(temporary, file) for file in files),
        )
        write_json(temporary / EXPORT_CARD, card.model_dump(mode="json"))
        remove_folder(request.out)  # an earlier export, or an empty folder
    return card


@dataclass(frozen=True)
class _Checked:
    """What comparing an export with its bundle came to."""

    num_images: int
    max_difference: float
    num_other_answers: int
    max_difference_of_files: float | None = None

    def said(self, request: ModelExportRequest) -> str:
        """The check in a sentence."""
        images = f"validation images of `{request.dataset.reference}`" if request.dataset else "generated images"
        return (
            f"Before it was written, it was run on {self.num_images:,} {images}: its probabilities differ from those "
            f"of `{request.bundle.reference}` by at most {self.max_difference:.1e}{self._of_files()}."
        )

    def _of_files(self) -> str:
        if self.max_difference_of_files is None:
            return ""
        return f", and where it decodes and resizes files itself by at most {self.max_difference_of_files:.1e}"


def _checked(bundle: Bundle, network: Network, request: ModelExportRequest) -> _Checked:
    """Run both on the same images.

    Raises:
        WorkError: where they differ by more than `MAX_DIFFERENCE`, or the export gives NaN.
    """
    runner, differences, num_images, num_others = bundle.runner(), [0.0], 0, 0
    for images in _images(request):
        wanted = bundle.probabilities(runner(images), "images that an export is checked on")
        found = network(images)
        if found.shape != wanted.shape:
            raise WorkError(
                f"{FORMS[request.form].title} of {bundle.reference} gives results of shape {found.shape}, not "
                f"{wanted.shape}: nothing was written. Please report this with the network's name."
            )
        differences.append(float(np.abs(found - wanted).max()))
        num_images += len(images)
        num_others += _other_answers(bundle, wanted, found)
    worst = float(np.max(differences))  # NaN where one is
    if not worst < MAX_DIFFERENCE:
        where = f"validation images of {request.dataset.reference}" if request.dataset else "generated images"
        raise WorkError(
            f"{FORMS[request.form].title} of {bundle.reference} gives probabilities that differ from the model's own "
            f"by {worst:.2g} on {num_images:,} {where}, more than {MAX_DIFFERENCE}: nothing was written. Export it in "
            "another form; one calibrated by curves keeps its answers as onnx, openvino, savedmodel or keras."
        )
    return _Checked(num_images, worst, num_others)


def _checked_files(network: FileNetwork, request: ModelExportRequest) -> float:
    """The largest difference where both get files: the first images, enlarged, so that they have to be resized.

    Raises:
        WorkError: where it is `MAX_DIFFERENCE_OF_FILES` or more.
    """
    bundle, runner, differences = request.bundle, request.bundle.runner(), [0.0]
    for images in islice(_images(request), MAX_FILES_CHECKED // _BATCH):
        files = [_enlarged(pixels) for pixels in images]
        decoded = np.stack([decode(file, bundle.card.policy) for file in files])
        wanted = bundle.probabilities(runner(decoded), "images that an export is checked on")
        differences.append(float(np.abs(network(files) - wanted).max()))
    worst = float(np.max(differences))
    if not worst < MAX_DIFFERENCE_OF_FILES:
        raise WorkError(
            f"{FORMS[request.form].title} of {bundle.reference} gives other probabilities for files than the model, by "
            f"up to {worst:.2g}, more than {MAX_DIFFERENCE_OF_FILES}: its decoding does not suit this network, and "
            "nothing was written. Export it in another form."
        )
    return worst


def _enlarged(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG of an image, each side one and two thirds as long."""
    image, stream = Image.fromarray(pixels), io.BytesIO()
    image.resize((image.width * 5 // 3, image.height * 5 // 3), Image.Resampling.BICUBIC).save(stream, "PNG")
    return stream.getvalue()


def _other_answers(bundle: Bundle, wanted: NDArray[np.floating], found: NDArray[np.floating]) -> int:
    """How many images the two label differently."""
    if bundle.several_labels:
        limits = np.array(bundle.card.thresholds)
        return int(((wanted >= limits) != (found >= limits)).any(axis=1).sum())
    return int((wanted.argmax(axis=1) != found.argmax(axis=1)).sum())


def _images(request: ModelExportRequest) -> Iterator[NDArray[np.uint8]]:
    """Images to compare on, batch by batch."""
    if request.dataset:
        records = islice(request.dataset.records("validation"), MAX_CHECKED)
        yield from (images for images, _ in stored_batches(records, _BATCH, request.dataset.labels))
        return
    height, width = request.bundle.card.policy.image_size
    generator = np.random.default_rng(0)
    for _ in range(_NUM_GENERATED // _BATCH):
        coarse = generator.integers(0, 256, (_BATCH, 8, 8, 3))
        rows, columns = (np.arange(length) * 8 // length for length in (height, width))
        noise = generator.integers(-16, 17, (_BATCH, height, width, 3))
        yield np.clip(coarse[:, rows][:, :, columns] + noise, 0, 255).astype(np.uint8)
