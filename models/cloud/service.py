"""What a recognition service is to Darkroom: a picture in, words out; and how its failures are told apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from darkroom.data.errors import InputError
from darkroom.models.cloud.settings import PREFIX, CloudSettings


@dataclass(frozen=True)
class Word:
    """What a service sees in an image.

    Attributes:
        text: Its word, or the class that it chose.
        confidence: As the service gives it, 0 to 1; not calibrated.
    """

    text: str
    confidence: float


@dataclass(frozen=True)
class Answer:
    """What a service says of one image.

    Attributes:
        words: The most confident first; () where it sees nothing, or abstains.
        version: The version of its model, as it names it.
        input_tokens, output_tokens: That it charges for; 0 where it charges by image.
    """

    words: tuple[Word, ...]
    version: str = ""
    input_tokens: int = 0
    output_tokens: int = 0


class NoAnswerError(Exception):
    """The service refuses this one image, or its answer cannot be read: a row with the reason `no_answer`."""


class UnavailableError(Exception):
    """The service is throttled, slow or down, in spite of its client's own retries."""


class CloudService(Protocol):
    """A service, by its vendor's own client. Thread-safe."""

    def ask(self, picture: bytes) -> Answer:
        """What it says of a picture.

        Args:
            picture: JPEG without any metadata.

        Raises:
            NoAnswerError: where this picture is refused.
            UnavailableError: where the service does not answer now.
            InputError: where the credentials are missing or refused.
        """


# How each vendor's client finds its credentials, in its own words.
_CREDENTIALS = {
    "aws-rekognition": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the machine's role; and AWS_REGION",
    "google-vision": "GOOGLE_APPLICATION_CREDENTIALS, or 'gcloud auth application-default login'",
    "azure-vision": "VISION_ENDPOINT and VISION_KEY",
    "openai-compatible": "OPENAI_API_KEY, and OPENAI_BASE_URL for another endpoint than OpenAI's",
}


def credentials_refused(settings: CloudSettings, said: str) -> InputError:
    """The sentence on credentials that are missing, wrong or expired; it repeats none of them.

    Args:
        settings: Which service.
        said: The client's word for it, such as `ExpiredTokenException`.
    """
    return InputError(
        f"{PREFIX}{settings.service} refuses the credentials ({said}). Give them as its vendor says: "
        f"{_CREDENTIALS[settings.service]}. Answers so far are kept."
    )


@contextmanager
def needing_extra(settings: CloudSettings, extra: str) -> Iterator[None]:
    """Name the extra to install where a client is missing.

    Args:
        settings: Which service.
        extra: Of the package.

    Raises:
        InputError: where it is.
    """
    try:
        yield
    except ImportError:
        raise InputError(
            f"{PREFIX}{settings.service} needs its vendor's client. Install it: pip install 'darkroom-flows[{extra}]'"
        ) from None


@dataclass(frozen=True)
class Access:
    """What of the environment a vendor's client does not read by itself.

    Attributes:
        google_endpoint: Another address than Google's, with its scheme; None for Google's.
        azure_endpoint, azure_key: Of the resource; None where they are not set.
    """

    google_endpoint: str | None = None
    azure_endpoint: str | None = None
    azure_key: str | None = field(default=None, repr=False)
