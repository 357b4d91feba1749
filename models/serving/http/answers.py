"""What the service answers, as its OpenAPI description has it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from darkroom.models.serving.served import ServedModel


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Probability(_Answer):
    """A class and its calibrated probability."""

    label: str = Field(description="The class")
    probability: float = Field(description="0 to 1")


class Prediction(_Answer):
    """The row of one image, as the prediction table has it (docs/scoring.md)."""

    model_config = ConfigDict(frozen=True, extra="allow")  # columns that a table has beside these

    path: str | None = Field(description="The name under which the image was sent")
    sha256: str | None = Field(description="Of its bytes, in hex")
    status: Literal["ok", "quarantined"] = Field(description="Whether the image could be used")
    reason: str | None = Field(description="Why an image could not be used")
    label: str | None = Field(default=None, description="The predicted class; null for a multi-label model")
    labels: list[str] | None = Field(default=None, description="The labels given by a multi-label model")
    confidence: float | None = Field(description="Calibrated, 0 to 1")
    abstained: bool | None = Field(description="Whether the confidence is below the model's threshold")
    top_k: list[Probability] | None = Field(description="The most likely classes, the most likely first")
    width: int | None = Field(description="Of the image as sent, pixels")
    height: int | None = Field(description="Of the image as sent, pixels")
    unfamiliarity: float | None = Field(
        default=None, description="How far it is from the training images, 1 at the limit; null where none is told"
    )
    unfamiliar: bool | None = Field(default=None, description="Whether it is beyond the limit")

    @classmethod
    def of(cls, row: dict[str, Any], top_k: int) -> Prediction:
        """The answer about a row of the prediction table.

        Args:
            row: Its values by column.
            top_k: The classes that the caller wants.
        """
        kept = {name: value for name, value in row.items() if name not in ("probabilities", "embedding")}
        return cls.model_validate({**kept, "top_k": row["top_k"][:top_k] if row["top_k"] is not None else None})


class Predictions(_Answer):
    """What a model says of the images of a request, in their order."""

    model: str = Field(description="`name@version` of the model that answered")
    predictions: list[Prediction] = Field(description="One for each image")


class Similar(_Answer):
    """A training image that the network finds similar."""

    path: str = Field(description="In the source of the data set")
    label: str = Field(description="Its label, or its labels joined by |")
    similarity: float = Field(description="Cosine of the embeddings, -1 to 1")
    image: str = Field(description="A data URI")


class Explanation(_Answer):
    """Why the model says what it says of an image."""

    model: str = Field(description="`name@version` of the model that answered")
    prediction: Prediction = Field(description="As `/v1/predict` gives it")
    label: str | None = Field(description="The class whose evidence is shown; null for an image that cannot be used")
    image: str | None = Field(description="What the network sees: a data URI")
    heat_map: str | None = Field(description="Brighter where covering it lowers the probability: a data URI")
    similar: list[Similar] = Field(description="The most similar training images, the most similar first")
    remark: str = Field(description="Why something is missing; empty where nothing is")


class ModelInUse(_Answer):
    """The model that answers."""

    model: str = Field(description="`name@version`")
    reference: str = Field(description="The reference that is followed")
    chosen: str = Field(description="Why it is this version")
    in_use_since: str = Field(description="UTC, ISO 8601")
    task: str = Field(description="`single-label` or `multi-label`")
    labels: list[str] = Field(description="The classes")
    threshold: float = Field(description="Confidence below which it abstains; 0 where it never does")
    thresholds: list[float] = Field(description="Of a multi-label model, the probability from which a label is given")
    image_size: tuple[int, int] = Field(description="(height, width), pixels")
    engine: str = Field(description="What runs the network: `fp32`, `int8` or `keras`")
    dataset: str = Field(description="`name@version` of the data set that it was trained on")

    @classmethod
    def of(cls, served: ServedModel, reference: str) -> ModelInUse:
        """What is in use.

        Args:
            served: The model.
            reference: That is followed.
        """
        card = served.bundle.card
        return cls(
            model=served.bundle.reference,
            reference=reference,
            chosen=served.choice.reason,
            in_use_since=served.since,
            task=card.task,
            labels=list(card.labels),
            threshold=card.threshold,
            thresholds=list(card.thresholds),
            image_size=card.policy.image_size,
            engine=served.engine,
            dataset=card.dataset,
        )


class Models(_Answer):
    """The models of the service."""

    models: list[ModelInUse] = Field(description="One")


class Problem(_Answer):
    """Why a request was refused."""

    detail: str = Field(description="A sentence")
