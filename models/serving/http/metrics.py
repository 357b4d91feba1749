"""What Prometheus reads: requests, images, batches, the queue, and which model is in use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# Seconds; a photograph takes 5 to 100 ms.
_BUCKETS = (0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 24)


class Metrics:
    """The counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter("darkroom_requests", "Requests answered", ("route", "status"), registry=self._registry)
        self._held = Gauge(
            "darkroom_requests_held", "Requests whose images are being read or answered", registry=self._registry
        )
        self._seconds = Histogram(
            "darkroom_request_seconds", "Time to the answer", ("route",), registry=self._registry, buckets=_BUCKETS
        )
        self._images = Counter(
            "darkroom_images", "Images answered, by ok or the reason of their quarantine", ("outcome",),
            registry=self._registry,
        )  # fmt: skip
        self._batch_size = Histogram(
            "darkroom_batch_images", "Images in a batch", registry=self._registry, buckets=_SIZES
        )
        self._batch_seconds = Histogram(
            "darkroom_batch_seconds", "Time that a batch took", registry=self._registry, buckets=_BUCKETS
        )
        self._waiting = Gauge("darkroom_waiting_images", "Images that wait for a thread", registry=self._registry)
        self._failures = Gauge(
            "darkroom_model_failures", "Times that the model could not be followed", registry=self._registry
        )
        self._model = Gauge("darkroom_model_info", "The model in use", ("model", "engine"), registry=self._registry)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Count a request for images from its first byte to its answer."""
        with self._held.track_inprogress():
            yield

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """Count an answer.

        Args:
            route: Its path as declared, or `other`.
            status: Of HTTP.
            seconds: How long it took.
        """
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def observe_image(self, outcome: str) -> None:
        """Count an image.

        Args:
            outcome: `ok`, or the reason of its quarantine.
        """
        self._images.labels(outcome).inc()

    def observe_batch(self, size: int, seconds: float) -> None:
        """Count a batch.

        Args:
            size: Its images.
            seconds: How long it took.
        """
        self._batch_size.observe(size)
        self._batch_seconds.observe(seconds)

    def watch(self, num_waiting: Callable[[], int], num_failures: Callable[[], int]) -> None:
        """Say where numbers are read when they are asked for.

        Args:
            num_waiting: Images that wait.
            num_failures: Times that the model could not be followed.
        """
        self._waiting.set_function(num_waiting)
        self._failures.set_function(num_failures)

    def text(self, model: str, engine: str) -> bytes:
        """All of it, in Prometheus's text format.

        Args:
            model: `name@version` of the model in use.
            engine: What runs it.
        """
        self._model.clear()
        self._model.labels(model, engine).set(1)
        return generate_latest(self._registry)
