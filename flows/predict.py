"""A quick look at a few images: predicted in this process and shown, without Prefect; nothing is written."""

from __future__ import annotations

from collections.abc import Sequence

from darkroom.data.dataset.manifest import OK
from darkroom.data.errors import ImageError
from darkroom.data.images.decoder_fingerprint import decoder
from darkroom.data.stores.listing import printable, read_named
from darkroom.data.stores.model_choice import ModelChoice
from darkroom.data.stores.named_files import check_named
from darkroom.data.stores.storage import Url, place_from, read_object
from darkroom.data.stores.workspace import Workspace
from darkroom.flows.results import Result, SelfDescribed
from darkroom.flows.settings import decoder_rule
from darkroom.models.bundle.bundle import check_decoder, open_bundle
from darkroom.models.bundle.imagenet import find_bundle
from darkroom.models.pages.description import Description, Row, Table
from darkroom.models.scoring.rows import Contents, Scorer, score_contents

_NUM_SHOWN = 3


class LabelProbability(Result):
    """A class and its calibrated probability."""

    label: str
    probability: float


class PredictedImage(Result):
    """The row of an image, as the prediction table has it; `labels` are those of a multi-label model."""

    path: str
    status: str
    reason: str | None
    label: str | None = None
    labels: tuple[str, ...] | None = None
    confidence: float | None = None
    abstained: bool | None = None
    unfamiliar: bool | None = None
    top_k: tuple[LabelProbability, ...] = ()

    def cells(self) -> tuple[str, ...]:
        """What a person sees: path, label, confidence, the most likely classes, and what is the matter."""
        top = ", ".join(f"{each.label} {each.probability:.3f}" for each in self.top_k)
        said = ", ".join(self.labels) if self.labels is not None else self.label or ""
        confidence = "" if self.confidence is None else f"{self.confidence:.3f}"
        flags = [name for name, is_so in (("abstained", self.abstained), ("unfamiliar", self.unfamiliar)) if is_so]
        state = f"quarantined: {self.reason}" if self.reason else ", ".join(flags)
        return self.path, said, confidence, top, state


class PredictResult(SelfDescribed):
    """What a model says of a few images, in the order given."""

    bundle: str
    chosen: ModelChoice
    images: tuple[PredictedImage, ...]

    @property
    def num_predicted(self) -> int:
        """Images that were not quarantined."""
        return sum(image.status == OK for image in self.images)

    def description(self) -> Description:
        """A line for each image."""
        columns = ("file", "label", "confidence", "most likely", "")
        table = Table(title="Images", columns=columns, cells=tuple(image.cells() for image in self.images))
        row = Row(label="model", text=f"{self.bundle}: {self.chosen.reason}")
        return Description(title="Predictions", rows=(row,)).with_tables(table)


def check_images(images: Sequence[str]) -> None:
    """Refuse what is no file, before a model is looked for.

    Raises:
        SourceError: naming it.
    """
    files = [image for image in images if not isinstance(place_from(image), Url)]
    if files:
        check_named(files)


def _contents(image: str, max_bytes: int) -> Contents:
    """An image's bytes, or why it has none."""
    try:
        place = place_from(image)
        return read_object(place, max_bytes) if isinstance(place, Url) else read_named(image, max_bytes)
    except ImageError as error:
        return error


def predict(images: Sequence[str], model: str, place: Workspace) -> PredictResult:
    """Predict a few images, with the rows that `score` would write for them.

    Args:
        images: Files, or their URLs.
        model: As `load_model` takes it.
        place: The workspace.

    Raises:
        InputError: where there is no such model or image.
    """
    check_images(images)
    found = find_bundle(model, place)
    bundle = open_bundle(found.folder)
    check_decoder(bundle, decoder(), decoder_rule())
    policy = bundle.card.policy
    engine, top_k = bundle.engine("auto"), min(_NUM_SHOWN, len(bundle.card.labels))
    runner = bundle.runner(engine, num_threads=1)
    scorer = Scorer(runner, bundle, top_k=top_k, profile=bundle.profile, engine=engine)
    rows = list(score_contents(images, lambda image: (printable(image), _contents(image, policy.max_bytes)), scorer))
    fields = PredictedImage.model_fields
    predicted = tuple(
        PredictedImage.model_validate({name: value for name, value in row.items() if name in fields}) for row in rows
    )
    return PredictResult(bundle=bundle.reference, chosen=found.choice, images=predicted)
