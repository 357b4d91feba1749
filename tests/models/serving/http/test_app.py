"""The routes: the same answer as the table, limits that refuse with a sentence, and a description that is true."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from PIL import Image
from starlette.testclient import TestClient

import darkroom
from darkroom.data.dataset.dataset import Dataset
from darkroom.data.images.crash_recovery import decode_unwatched
from darkroom.data.stores.model_choice import FoundModel, ModelChoice
from darkroom.models.scoring.rows import score_batch
from darkroom.models.serving.http.access import Keys
from darkroom.models.serving.http.app import ServiceParts, create_app
from darkroom.models.serving.http.metrics import Metrics
from darkroom.models.serving.served import ServeRequest, Service
from darkroom.models.serving.settings import ServeSettings
from tests.bundles import tiny_bundle
from tests.corpus import encoded, picture
from tests.datasets import ingest, photograph, write_images

KEY = "a-key-that-is-long-enough"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("served") / "tiny", ["amber", "blue", "green"], (24, 24))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("dataset")
    return ingest(write_images(folder / "source"), folder / "workspace")


def app_of(
    bundle: Path, keys: Sequence[str] = (), dataset: Dataset | None = None, **limits: Any
) -> tuple[Any, Service]:
    metrics = Metrics()
    found = FoundModel(bundle, ModelChoice(by="path"))
    request = ServeRequest(lambda: found, decode_unwatched, ServeSettings(gather_ms=0, **limits))
    service = Service(request, metrics.observe_batch)
    return create_app(ServiceParts(service, Keys(keys), metrics, "tiny", lambda bundle: dataset)), service


@pytest.fixture(scope="module")
def client(bundle: Path) -> Iterator[TestClient]:
    app, service = app_of(bundle)
    yield TestClient(app)
    service.close()


def files(*images: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", image) for image in images]


IMAGES = [
    ("a.jpg", encoded(picture("a"), "JPEG")),
    ("ü b.png", encoded(picture("b"), "PNG")),
    ("notes.txt", b"no image"),
    ("cut.jpg", encoded(picture("c"), "JPEG")[:-200]),
]


@pytest.mark.parametrize("form", ["multipart", "json"])
def test_an_answer_is_the_row_of_the_table(form: str, client: TestClient, bundle: Path) -> None:
    if form == "multipart":
        answer = client.post("/v1/predict", files=files(*IMAGES))
    else:
        sent = [{"name": name, "data": base64.b64encode(data).decode()} for name, data in IMAGES]
        answer = client.post("/v1/predict", json={"images": sent})
    assert answer.status_code == 200, answer.text
    wanted = darkroom.load_model(bundle).predict([data for _, data in IMAGES])
    assert answer.json()["model"] == "tiny@0000000000000000"
    found = answer.json()["predictions"]
    assert [row["path"] for row in found] == [name for name, _ in IMAGES]
    assert [row["reason"] for row in found] == [None, None, "not_an_image", "truncated"]
    for row, (_, expected) in zip(found, wanted.iterrows(), strict=True):
        for column in ("sha256", "status", "reason", "label"):
            assert row[column] == (None if pd.isna(expected[column]) else expected[column]), column
        if row["status"] == "ok":
            assert np.float32(row["confidence"]) == expected["confidence"]
            assert row["abstained"] == expected["abstained"]
            assert [each["label"] for each in row["top_k"]] == [each["label"] for each in expected["top_k"]]
            given = [np.float32(each["probability"]) for each in row["top_k"]]
            assert given == [np.float32(each["probability"]) for each in expected["top_k"]]
            assert (row["width"], row["height"]) == (expected["width"], expected["height"])


def test_top_k_is_what_the_caller_wants_of_it(client: TestClient) -> None:
    def given(top_k: int) -> int:
        answer = client.post(f"/v1/predict?top_k={top_k}", files=files(IMAGES[0]))
        return len(answer.json()["predictions"][0]["top_k"]) if answer.status_code == 200 else -answer.status_code

    assert [given(top_k) for top_k in (1, 2, 3, 100, 0, 101)] == [1, 2, 3, 3, -422, -422]


def test_many_callers_at_once_get_their_own_rows(client: TestClient, bundle: Path) -> None:
    images = [encoded(photograph("blue", number), "PNG") for number in range(40)]
    wanted = darkroom.load_model(bundle).predict(images)["confidence"].tolist()

    def ask(data: bytes) -> float:
        return float(client.post("/v1/predict", files=files(("x", data))).json()["predictions"][0]["confidence"])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, images)) == wanted


@pytest.mark.parametrize(
    ("request_", "status", "sentence"),
    [
        ({"files": files(*[IMAGES[0]] * 5)}, 413, "There are more than 4 images. Send fewer at once."),
        ({"files": files(("big", bytes(21_000)))}, 413, "more than 20,000 bytes"),
        ({"json": {"images": [{"data": "A" * 21_000}]}}, 413, "more than 20,000 bytes"),
        ({"content": b"x", "headers": {"content-type": "image/jpeg"}}, 415, "not 'image/jpeg'"),
        ({"files": [("photo", IMAGES[0])]}, 422, "'photo' is no file called 'images'"),
        ({"data": {"images": "text"}, "files": files(IMAGES[0])}, 422, "'images' is no file"),
        ({"json": {"images": []}}, 422, "images: List should have at least 1 item"),
        ({"json": {"images": [{"data": "?"}]}}, 422, "images.0.data is not base64."),
        ({"json": {"images": [{"data": "", "more": 1}]}}, 422, "images.0.more: Extra inputs"),
        ({"json": [1]}, 422, "the body: Input should be a valid dictionary"),
        ({"content": b"[" * 10_000, "headers": {"content-type": "application/json"}}, 422, "The body is not JSON."),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "boundary"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_a_sentence(
    request_: dict[str, Any], status: int, sentence: str, bundle: Path
) -> None:
    app, service = app_of(bundle, max_images=4, max_request_bytes=20_000)
    with TestClient(app) as client:
        answer = client.post("/v1/predict", **request_)
        assert (answer.status_code, sentence in answer.json()["detail"]) == (status, True), answer.text
        assert client.post("/v1/predict", files=files(IMAGES[0])).status_code == 200
    service.close()


def test_an_overload_is_told_at_once_and_passes(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, begun = threading.Event(), threading.Event()

    def hold(*arguments: Any) -> Any:
        begun.set()
        held.wait(60)
        return score_batch(*arguments)

    monkeypatch.setattr("darkroom.models.serving.served.score_batch", hold)
    app, service = app_of(bundle, max_waiting=1)
    with TestClient(app) as client, ThreadPoolExecutor(16) as pool:
        first = [pool.submit(client.post, "/v1/predict", files=files(IMAGES[0])) for _ in range(12)]
        begun.wait(60)
        while service.current.num_waiting < 1:
            threading.Event().wait(0.01)
        refused = client.post("/v1/predict", files=files(IMAGES[0]))
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200
        held.set()
        statuses = [each.result(60).status_code for each in first]
        assert set(statuses) <= {200, 429}
        assert 200 in statuses
        assert client.post("/v1/predict", files=files(IMAGES[0])).status_code == 200
        assert client.get("/ready").status_code == 200
    service.close()


def test_bytes_of_all_requests_are_bounded(bundle: Path) -> None:
    app, service = app_of(bundle, max_held_bytes=20_000)
    with TestClient(app) as client:
        assert client.post("/v1/predict", files=files(("x", bytes(21_000)))).status_code == 429
        for _ in range(5):  # what is answered is held no longer
            assert client.post("/v1/predict", files=files(("x", bytes(10_000)))).status_code == 200
    service.close()


def test_only_who_has_a_key_is_answered(bundle: Path) -> None:
    app, service = app_of(bundle, [KEY, "another-long-key-of-ours"])
    with TestClient(app) as client:
        for headers in (
            {},
            {"X-API-Key": "wrong"},
            {"Authorization": f"Basic {KEY}"},
            {"Authorization": f"Bearer {KEY}x"},
        ):
            for method, route in (("post", "predict"), ("post", "explain"), ("get", "models")):
                assert getattr(client, method)(f"/v1/{route}", headers=headers).status_code == 401
            assert client.get("/metrics", headers=headers).status_code == 401
        for headers in ({"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}):
            assert client.get("/v1/models", headers=headers).status_code == 200
            assert client.post("/v1/predict", files=files(IMAGES[0]), headers=headers).status_code == 200
        assert [client.get(route).status_code for route in ("/health", "/ready", "/")] == [200] * 3
        assert "API key" in client.get("/").text
        assert KEY not in client.get("/openapi.json").text
    service.close()


def test_metrics_count_what_was_answered(bundle: Path) -> None:
    app, service = app_of(bundle)
    with TestClient(app) as client:
        client.post("/v1/predict", files=files(*IMAGES))
        client.post("/v1/predict", content=b"x")
        client.get("/nowhere")
        text = client.get("/metrics").text
    service.close()
    numbers = dict(re.findall(r"^([a-z_]+(?:\{[^}]*\})?) ([\d.]+)$", text, re.MULTILINE))
    assert numbers['darkroom_requests_total{route="/v1/predict",status="200"}'] == "1.0"
    assert numbers['darkroom_requests_total{route="/v1/predict",status="415"}'] == "1.0"
    assert numbers['darkroom_requests_total{route="other",status="404"}'] == "1.0"
    assert numbers['darkroom_images_total{outcome="ok"}'] == "2.0"
    assert numbers['darkroom_images_total{outcome="truncated"}'] == "1.0"
    assert numbers["darkroom_batch_images_sum"] == "4.0"
    assert numbers['darkroom_model_info{engine="fp32",model="tiny@0000000000000000"}'] == "1.0"


def test_the_model_in_use_is_described(client: TestClient) -> None:
    (model,) = client.get("/v1/models").json()["models"]
    assert model["model"] == "tiny@0000000000000000"
    assert model["labels"] == ["amber", "blue", "green"]
    assert (model["image_size"], model["engine"], model["chosen"]) == ([24, 24], "fp32", "the folder given")


def test_an_explanation_shows_where_the_network_looks_and_similar_training_images(
    bundle: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = dataset.card.policy
    ours = tiny_bundle(tmp_path / "tiny", dataset.labels.names, policy.image_size, policy)
    app, service = app_of(ours, dataset=dataset)
    record = next(dataset.records("train"))
    with TestClient(app) as client:
        found = client.post("/v1/explain", files=files(("stored.png", record.encoded))).json()
        bad = client.post("/v1/explain", files=files(IMAGES[2])).json()
        assert client.post("/v1/explain", files=files(*IMAGES[:2])).status_code == 413
    service.close()
    assert found["label"] == found["prediction"]["label"]
    for name in ("image", "heat_map"):
        assert found[name].startswith("data:image/png;base64,")
    assert found["remark"] == ""
    first = found["similar"][0]
    assert (first["path"], first["label"], first["similarity"]) == (record.path, record.label, 1.0)
    assert len(found["similar"]) == 5
    assert [each["similarity"] for each in found["similar"]] == sorted(
        (each["similarity"] for each in found["similar"]), reverse=True
    )
    assert (bad["prediction"]["reason"], bad["image"], bad["similar"]) == ("not_an_image", None, [])


def test_an_explanation_without_the_training_images_says_so(client: TestClient) -> None:
    found = client.post("/v1/explain", files=files(IMAGES[0])).json()
    assert found["similar"] == []
    assert "not in this workspace: made@" in found["remark"]


def test_hostile_files_are_rows_with_a_reason(client: TestClient) -> None:
    bomb = encoded(Image.new("L", (20_000, 20_000)), "PNG")
    name = "../../etc/\u202epasswd\x1b[0m"
    answer = client.post("/v1/predict", files=files((name, bomb), ("x", b"\xff\xd8\xff" * 999)))
    found = answer.json()["predictions"]
    assert [(row["path"], row["reason"]) for row in found] == [(name, "too_large"), ("x", "corrupt")]
    assert "\x1b" not in answer.text


def test_the_description_is_true_of_what_is_answered(bundle: Path) -> None:
    """As schemathesis sees it: no answer of a status or form that OpenAPI does not tell of, and no failure."""
    app, service = app_of(bundle)
    schema: Any = schemathesis.openapi.from_asgi("/openapi.json", app)
    found = [each.ok() for each in schema.get_all_operations()]
    assert {each.path for each in found} == {
        "/v1/predict",
        "/v1/explain",
        "/v1/models",
        "/metrics",
        "/health",
        "/ready",
    }
    for operation in found:

        @settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            case.call_and_validate()

        check()
    service.close()
