"""Azure AI Vision: tags of Image Analysis 4.0, by azure-ai-vision-imageanalysis."""

from __future__ import annotations

from typing import Any

from darkroom.models.cloud.service import (
    Access,
    Answer,
    NoAnswerError,
    UnavailableError,
    Word,
    credentials_refused,
    needing_extra,
)
from darkroom.models.cloud.settings import CloudSettings

_ATTEMPTS, _TIMEOUT_SECONDS = 8, 30
# By itself the client sends a POST again only where the service says after how long.
_RETRIED = frozenset({"POST"})


class AzureVision:
    """The service.

    Args:
        settings: What is asked.
        access: The endpoint and the key.

    Raises:
        InputError: where the client is not installed, or one of them is missing.
    """

    def __init__(self, settings: CloudSettings, access: Access) -> None:
        with needing_extra(settings, "azure-vision"):
            from azure.ai.vision.imageanalysis import ImageAnalysisClient
            from azure.ai.vision.imageanalysis.models import VisualFeatures
            from azure.core.credentials import AzureKeyCredential
        if not (access.azure_endpoint and access.azure_key):
            raise credentials_refused(settings, "none found")
        self._settings, self._features = settings, [VisualFeatures.TAGS]
        self._client: Any = ImageAnalysisClient(
            access.azure_endpoint,
            AzureKeyCredential(access.azure_key),
            retry_total=_ATTEMPTS,
            connection_timeout=_TIMEOUT_SECONDS,
            read_timeout=_TIMEOUT_SECONDS,
        )

    def ask(self, picture: bytes) -> Answer:
        """See `CloudService`."""
        from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

        try:
            said = self._client.analyze(image_data=picture, visual_features=self._features, retry_on_methods=_RETRIED)
            found = sorted(said.tags.list, key=lambda tag: -tag.confidence)
            words = tuple(Word(str(tag.name), float(tag.confidence)) for tag in found[: self._settings.max_words])
        except ClientAuthenticationError as error:
            raise credentials_refused(self._settings, type(error).__name__) from None
        except HttpResponseError as error:
            if error.status_code in (401, 403):
                raise credentials_refused(self._settings, f"status {error.status_code}") from None
            if error.status_code in (400, 413, 415, 422):
                raise NoAnswerError(f"status {error.status_code}") from None
            raise UnavailableError(f"status {error.status_code}") from None
        except AzureError as error:
            raise UnavailableError(type(error).__name__) from None
        except (ValueError, TypeError, AttributeError) as error:
            raise NoAnswerError(f"its answer cannot be read: {type(error).__name__}") from None
        return Answer(words, str(said.model_version or ""))
