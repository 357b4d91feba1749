"""Each vendor's own client against a small server that speaks its documented requests."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.data.errors import InputError
from darkroom.flows.settings import cloud_access
from darkroom.models.cloud.service import Answer, CloudService, NoAnswerError, UnavailableError, Word
from darkroom.models.cloud.settings import CloudSettings, ServiceName, service_settings
from darkroom.models.cloud.vendors import azure_vision, google_vision, openai_compatible, rekognition
from darkroom.models.cloud.vendors.choice import open_service
from tests.models.cloud.conftest import SECRET, SERVICES
from tests.stand_ins import WORDS, Refusal, Seen

Start = Callable[[ServiceName], Seen]
COLOURS = {"amber": (200, 140, 40), "blue": (40, 70, 200), "green": (50, 170, 60)}


def settings_of(service: ServiceName, **more: Any) -> CloudSettings:
    prompt = {"service_model": "vision", "classes": ("amber", "blue")} if service == "openai-compatible" else {}
    return service_settings(f"cloud:{service}", {**prompt, **more})


def opened(service: ServiceName, **more: Any) -> CloudService:
    return open_service(settings_of(service, **more), cloud_access())


def picture(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((96, 96, 3), COLOURS[colour], np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


# How each says that it is asked too often, that it is down, that the key is wrong, and that it cannot read a picture.
THROTTLED: dict[str, Refusal] = {
    "aws-rekognition": (400, {"__type": "ThrottlingException", "message": "slow down"}),
    "google-vision": (429, {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow down"}}),
    "azure-vision": (429, {"error": {"code": "429", "message": "slow down"}}),
    "openai-compatible": (429, {"error": {"message": "slow down", "type": "requests", "code": "rate_limit"}}),
}
DOWN: Refusal = (503, {"error": {"code": 503, "status": "UNAVAILABLE", "message": "down"}})
EXPIRED: dict[str, Refusal] = {
    "aws-rekognition": (400, {"__type": "ExpiredTokenException", "message": f"{SECRET} has expired"}),
    "google-vision": (401, {"error": {"code": 401, "status": "UNAUTHENTICATED", "message": f"{SECRET} is old"}}),
    "azure-vision": (401, {"error": {"code": "401", "message": f"{SECRET} is old"}}),
    "openai-compatible": (401, {"error": {"message": f"{SECRET} is old", "code": "invalid_api_key"}}),
}
REFUSED: dict[str, Refusal] = {
    "aws-rekognition": (400, {"__type": "InvalidImageFormatException", "message": "what is this"}),
    "google-vision": (200, {"responses": [{"error": {"code": 3, "message": "Bad image data."}}]}),
    "azure-vision": (400, {"error": {"code": "InvalidRequest", "message": "what is this"}}),
    "openai-compatible": (400, {"error": {"message": "content policy", "code": "content_policy_violation"}}),
}
MALFORMED: dict[str, Refusal] = {
    "aws-rekognition": (200, {"Labels": [{"Confidence": 9}]}),
    "google-vision": (200, {"responses": [{"error": {"code": 3}}]}),
    "azure-vision": (200, {"modelVersion": "1"}),
    "openai-compatible": (200, {"choices": [{"message": {"content": "It is blue, I think."}}]}),
}


@pytest.mark.parametrize("service", SERVICES)
def test_a_picture_becomes_the_words_of_the_service(service: ServiceName, start: Start) -> None:
    seen = start(service)
    found = opened(service).ask(picture("blue"))
    if service == "openai-compatible":
        assert found == Answer((Word("blue", 0.91),), "vision-2026", 1000, 10)
        assert opened(service).ask(picture("green")).words == ()  # none of its classes
    else:
        assert [(word.text, round(word.confidence, 4)) for word in found.words] == list(WORDS["blue"])
        assert (found.input_tokens, found.output_tokens) == (0, 0)
        assert opened(service, max_words=1).ask(picture("amber")).words[0].text == "Honey"
    assert seen.pictures[0] == picture("blue")
    assert seen.secrets


@pytest.mark.parametrize("service", SERVICES)
def test_the_client_asks_again_where_it_is_throttled(service: ServiceName, start: Start) -> None:
    seen = start(service)
    seen.refuse = lambda number: THROTTLED[service] if number == 0 else None
    assert opened(service).ask(picture("blue")).words
    assert len(seen.pictures) == 2


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_stays_down_is_told_from_a_picture_that_is_refused(
    service: ServiceName, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rekognition, "_ATTEMPTS", 2)
    monkeypatch.setattr(azure_vision, "_ATTEMPTS", 1)
    monkeypatch.setattr(openai_compatible, "_ATTEMPTS", 1)
    monkeypatch.setattr(google_vision, "_DEADLINE_SECONDS", 1.0)
    seen = start(service)
    seen.refuse = lambda number: DOWN
    with pytest.raises(UnavailableError):
        opened(service).ask(picture("blue"))
    asked = len(seen.pictures)
    for refusal in (REFUSED[service], MALFORMED[service]):
        seen.refuse = lambda number, refusal=refusal: refusal  # type: ignore[misc]
        with pytest.raises(NoAnswerError):
            opened(service).ask(picture("blue"))
    assert len(seen.pictures) == asked + 2  # such a picture is not sent again


@pytest.mark.parametrize("service", SERVICES)
def test_credentials_that_are_refused_or_missing_are_said_without_being_shown(
    service: ServiceName, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = start(service)
    seen.refuse = lambda number: EXPIRED[service]
    with pytest.raises(InputError, match="refuses the credentials") as caught:
        opened(service).ask(picture("blue"))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    for name in (
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "VISION_KEY", "OPENAI_API_KEY", "GOOGLE_APPLICATION_CREDENTIALS",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nowhere")
    with pytest.raises(InputError, match="refuses the credentials"):
        opened(service)


def test_an_answer_outside_the_classes_is_no_answer(start: Start) -> None:
    seen = start("openai-compatible")
    for content in ('{"label": "purple", "confidence": 1}', '{"label": "blue", "confidence": 7}', '["blue"]', None):
        seen.refuse = lambda number, content=content: (200, {"choices": [{"message": {"content": content}}]})  # type: ignore[misc]
        with pytest.raises(NoAnswerError):
            opened("openai-compatible").ask(picture("blue"))
