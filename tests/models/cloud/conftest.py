"""Recognition services that are small servers on this machine, and the environment in which their clients find them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from darkroom.models.cloud.settings import ServiceName
from tests.stand_ins import Seen, stand_in

SERVICES: tuple[ServiceName, ...] = get_args(ServiceName)
SECRET = "planted-secret-5f0c"


@pytest.fixture(scope="session")
def google_account(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The key of a service account."""
    key = generate_private_key(public_exponent=65537, key_size=2048)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    path = tmp_path_factory.mktemp("google") / "account.json"
    account = {
        "type": "service_account", "project_id": "ours", "private_key_id": "1", "private_key": text,
        "client_email": "us@ours.iam.gserviceaccount.com", "client_id": "1", "token_uri": "http://127.0.0.1:9/token",
    }  # fmt: skip
    path.write_text(json.dumps(account))
    return path


@pytest.fixture
def start(
    monkeypatch: pytest.MonkeyPatch, google_account: Path, tmp_path: Path
) -> Iterator[Callable[[ServiceName], Seen]]:
    """Start a stand-in of a service, and let its client find it."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    with ExitStack() as stack:

        def started(service: ServiceName) -> Seen:
            address, seen = stack.enter_context(stand_in(service))
            variables = {
                "aws-rekognition": {
                    "AWS_ENDPOINT_URL_REKOGNITION": address,
                    "AWS_ACCESS_KEY_ID": "ours",
                    "AWS_SECRET_ACCESS_KEY": SECRET,
                    "AWS_DEFAULT_REGION": "eu-central-1",
                    "AWS_EC2_METADATA_DISABLED": "true",
                    "AWS_CONFIG_FILE": str(tmp_path / "none"),
                    "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
                },
                "google-vision": {
                    "GOOGLE_APPLICATION_CREDENTIALS": str(google_account),
                    "DARKROOM_GOOGLE_VISION_ENDPOINT": address,
                },
                "azure-vision": {"VISION_ENDPOINT": address, "VISION_KEY": SECRET},
                "openai-compatible": {"OPENAI_BASE_URL": f"{address}/v1", "OPENAI_API_KEY": SECRET},
            }
            for name, value in variables[service].items():
                monkeypatch.setenv(name, value)
            return seen

        yield started
