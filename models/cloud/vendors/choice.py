"""Which client asks a service: imported only when it is needed."""

from __future__ import annotations

from darkroom.models.cloud.service import Access, CloudService
from darkroom.models.cloud.settings import CloudSettings


def open_service(settings: CloudSettings, access: Access) -> CloudService:
    """The service, ready to be asked; nothing is sent yet.

    Args:
        settings: Which one.
        access: What its client does not find by itself.

    Raises:
        InputError: where its client is not installed, or credentials are missing.
    """
    if settings.service == "aws-rekognition":
        from darkroom.models.cloud.vendors.rekognition import Rekognition

        return Rekognition(settings)
    if settings.service == "google-vision":
        from darkroom.models.cloud.vendors.google_vision import GoogleVision

        return GoogleVision(settings, access.google_endpoint)
    if settings.service == "azure-vision":
        from darkroom.models.cloud.vendors.azure_vision import AzureVision

        return AzureVision(settings, access)
    from darkroom.models.cloud.vendors.openai_compatible import OpenAiCompatible

    return OpenAiCompatible(settings)
