"""Google Cloud Vision: label detection, by google-cloud-vision over REST."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from darkroom.models.cloud.service import (
    Answer,
    NoAnswerError,
    UnavailableError,
    Word,
    credentials_refused,
    needing_extra,
)
from darkroom.models.cloud.settings import CloudSettings

_TIMEOUT_SECONDS, _DEADLINE_SECONDS = 30.0, 120.0
# google.rpc.Code, within an answer: https://cloud.google.com/vision/docs/reference/rest/v1/AnnotateImageResponse
_OF_CREDENTIALS, _PASSING = {7, 16}, {4, 8, 13, 14}


class GoogleVision:
    """The service.

    Args:
        settings: What is asked.
        endpoint: Another address than Google's, with its scheme; None for Google's.

    Raises:
        InputError: where the client is not installed, or there are no credentials.
    """

    def __init__(self, settings: CloudSettings, endpoint: str | None) -> None:
        with needing_extra(settings, "google-vision"):
            from google.api_core.retry import Retry, if_exception_type
            from google.auth.exceptions import GoogleAuthError
            from google.cloud import vision
            from google.cloud.vision_v1.services.image_annotator.transports import ImageAnnotatorRestTransport
        from google.api_core import exceptions

        self._settings, self._vision = settings, vision
        place = urlsplit(endpoint or "")
        where: dict[str, Any] = {"host": place.netloc, "url_scheme": place.scheme} if endpoint else {}
        try:
            self._client: Any = vision.ImageAnnotatorClient(transport=ImageAnnotatorRestTransport(**where))
        except GoogleAuthError as error:
            raise credentials_refused(settings, type(error).__name__) from None
        passing = (
            exceptions.TooManyRequests, exceptions.ServiceUnavailable, exceptions.InternalServerError,
            exceptions.BadGateway, exceptions.GatewayTimeout,
        )  # fmt: skip
        self._retry = Retry(predicate=if_exception_type(*passing), initial=0.5, maximum=20, timeout=_DEADLINE_SECONDS)

    def ask(self, picture: bytes) -> Answer:
        """See `CloudService`."""
        from google.api_core import exceptions
        from google.auth.exceptions import GoogleAuthError
        from requests import RequestException

        kind = self._vision.Feature.Type.LABEL_DETECTION
        request = {
            "image": {"content": picture},
            "features": [{"type_": kind, "max_results": self._settings.max_words}],
        }
        try:
            (said,) = self._client.batch_annotate_images(
                requests=[request], retry=self._retry, timeout=_TIMEOUT_SECONDS
            ).responses
            words = tuple(Word(each.description, float(each.score)) for each in said.label_annotations)
        except (exceptions.Unauthorized, exceptions.Forbidden, GoogleAuthError) as error:
            raise credentials_refused(self._settings, type(error).__name__) from None
        except exceptions.BadRequest as error:
            raise NoAnswerError(type(error).__name__) from None
        except (exceptions.GoogleAPIError, RequestException) as error:
            raise UnavailableError(type(error).__name__) from None
        except (ValueError, TypeError, AttributeError) as error:
            raise NoAnswerError(f"its answer cannot be read: {type(error).__name__}") from None
        code = said.error.code
        if code in _OF_CREDENTIALS:
            raise credentials_refused(self._settings, f"code {code}")
        if code in _PASSING:
            raise UnavailableError(f"code {code}")
        if code:
            raise NoAnswerError(f"code {code}")
        return Answer(words)
