"""Amazon Rekognition: DetectLabels, by boto3 (`AWS_ENDPOINT_URL_REKOGNITION` names another endpoint)."""

from __future__ import annotations

from typing import Any

from darkroom.models.cloud.service import (
    Answer,
    NoAnswerError,
    UnavailableError,
    Word,
    credentials_refused,
    needing_extra,
)
from darkroom.models.cloud.settings import CloudSettings

_ATTEMPTS = 8
# https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DetectLabels.html, Errors
_OF_THE_IMAGE = {"ImageTooLargeException", "InvalidImageFormatException", "InvalidParameterException"}
_OF_CREDENTIALS = {
    "AccessDeniedException", "ExpiredTokenException", "ExpiredToken", "InvalidSignatureException",
    "MissingAuthenticationTokenException", "UnrecognizedClientException", "InvalidClientTokenId",
    "SignatureDoesNotMatch",
}  # fmt: skip


class Rekognition:
    """The service.

    Args:
        settings: What is asked.

    Raises:
        InputError: where boto3 is not installed, or there are no credentials or no region.
    """

    def __init__(self, settings: CloudSettings) -> None:
        with needing_extra(settings, "aws"):
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        self._settings = settings
        retries = {"mode": "adaptive", "total_max_attempts": _ATTEMPTS}
        try:
            session = boto3.session.Session()
            if session.get_credentials() is None:
                raise credentials_refused(settings, "none found")
            self._client: Any = session.client(
                "rekognition", config=Config(retries=retries, max_pool_connections=settings.num_callers)
            )
        except BotoCoreError as error:
            raise credentials_refused(settings, type(error).__name__) from None

    def ask(self, picture: bytes) -> Answer:
        """See `CloudService`."""
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, TokenRetrievalError

        try:
            said = self._client.detect_labels(Image={"Bytes": picture}, MaxLabels=self._settings.max_words)
            words = tuple(Word(each["Name"], each["Confidence"] / 100) for each in said["Labels"])
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _OF_THE_IMAGE:
                raise NoAnswerError(code) from None
            if code in _OF_CREDENTIALS:
                raise credentials_refused(self._settings, code) from None
            raise UnavailableError(code or type(error).__name__) from None
        except (NoCredentialsError, TokenRetrievalError) as error:
            raise credentials_refused(self._settings, type(error).__name__) from None
        except BotoCoreError as error:
            raise UnavailableError(type(error).__name__) from None
        except (KeyError, TypeError, ValueError) as error:
            raise NoAnswerError(f"its answer cannot be read: {type(error).__name__}") from None
        return Answer(words, str(said.get("LabelModelVersion", "")))
