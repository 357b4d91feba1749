"""Which service is asked, how, and for how much."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field

from darkroom.data.errors import SettingError
from darkroom.data.figures import listed
from darkroom.data.files.hashing import content_version
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.settings import SettingsModel

ServiceName = Literal["aws-rekognition", "google-vision", "azure-vision", "openai-compatible"]
PREFIX = "cloud:"

# US dollars per 1,000 images, as the vendors listed them when this was written, beyond what is free.
_LIST_PRICES: dict[ServiceName, float] = {"aws-rekognition": 1.0, "google-vision": 1.5, "azure-vision": 1.0}
# Raised whenever the same settings would send another picture or ask another question.
_CODE_VERSION = 1


class CloudSettings(SettingsModel):
    """A service, and what it is asked."""

    service: ServiceName = Field(
        description="The service: aws-rekognition, google-vision, azure-vision or openai-compatible"
    )
    service_model: str | None = Field(
        default=None, description="Model of an openai-compatible service; others have one (default: none)"
    )
    classes: tuple[str, ...] = Field(
        default=(), description="Classes to choose from, for an openai-compatible service, separated by commas"
    )
    image_size: int = Field(
        default=640,
        ge=96,
        le=2048,
        description="Longest side of what is sent, pixels: the image fits in, with grey bars",
    )
    max_words: int = Field(default=20, ge=1, le=100, description="Words that the service is asked for, per image")
    price: float | None = Field(
        default=None,
        ge=0,
        description="US dollars per 1,000 images (default: the list price; for tokens, see --token-price)",
    )
    token_price: tuple[float, float] | None = Field(
        default=None, description="US dollars per million input and output tokens of an openai-compatible service"
    )
    max_requests: int | None = Field(default=None, ge=0, description="Requests at most")
    max_cost: float | None = Field(default=None, ge=0, description="US dollars at most")
    num_callers: int = Field(default=4, ge=1, le=64, description="Requests at once")

    @property
    def policy(self) -> DecodePolicy:
        """How a file becomes the picture that is sent."""
        return DecodePolicy(image_size=(self.image_size, self.image_size), resize="pad", padding=(128, 128, 128))

    @property
    def key(self) -> str:
        """A hash of all that an answer depends on besides the image."""
        asked = self.model_dump(mode="json", include={"service", "service_model", "classes", "max_words"})
        return content_version(_CODE_VERSION, asked, self.policy.model_dump(mode="json"))

    @property
    def price_per_image(self) -> float | None:
        """US dollars; None where it is by tokens, whose number is known afterwards only."""
        if self.price is not None:
            return self.price / 1000
        listed_price = _LIST_PRICES.get(self.service)
        return None if listed_price is None else listed_price / 1000

    def token_cost(self, input_tokens: int, output_tokens: int) -> float:
        """What the tokens of an answer cost in US dollars; 0 where images have a price, or no price is known.

        Args:
            input_tokens: Of the answer.
            output_tokens: Of the answer.
        """
        if self.price_per_image is not None or self.token_price is None:
            return 0.0
        return (input_tokens * self.token_price[0] + output_tokens * self.token_price[1]) / 1e6

    def check(self) -> None:
        """Refuse what does not fit together, before anything is sent.

        Raises:
            SettingError: naming it.
        """
        by_prompt = self.service == "openai-compatible"
        if by_prompt and not (self.service_model and len(self.classes) >= 2):
            raise SettingError(
                f"{PREFIX}{self.service} chooses among classes that you name: give --service-model NAME and --classes "
                "CLASS,CLASS."
            )
        if not by_prompt and (self.service_model or self.classes or self.token_price):
            raise SettingError(
                f"{PREFIX}{self.service} gives words of its own: --service-model, --classes and --token-price go with "
                f"{PREFIX}openai-compatible. Map its words to classes with --word-map FILE."
            )
        if len(set(self.classes)) != len(self.classes) or any(not each.strip() for each in self.classes):
            raise SettingError("--classes takes different names. Give each class once.")
        if self.max_cost is not None and self.price_per_image is None and self.token_price is None:
            raise SettingError(
                "--max-cost needs a price. Give --token-price INPUT,OUTPUT per million tokens, or --price."
            )


def service_settings(model: str, given: dict[str, Any]) -> CloudSettings:
    """Settings of a service that is named as a model, such as `cloud:google-vision`.

    Args:
        model: The reference.
        given: Other settings; None stands for the default.

    Raises:
        SettingError: where there is no such service, or settings do not fit together.
    """
    name = model.removeprefix(PREFIX)
    if name not in get_args(ServiceName):
        raise SettingError(f"There is no service {name!r}. Give {PREFIX} and {listed(get_args(ServiceName))}.")
    found = CloudSettings.model_validate(
        {"service": name, **{name: value for name, value in given.items() if value is not None}}
    )
    found.check()
    return found
