"""What a run may spend: an estimate before the first request, and limits that hold while it goes on."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from darkroom.data.errors import InputError, WorkError
from darkroom.data.figures import count
from darkroom.models.cloud.service import Answer
from darkroom.models.cloud.settings import PREFIX, CloudSettings

# Sums of prices are not exact: 3 times 0.001 is more than 0.003.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Estimate:
    """What is to be asked.

    Attributes:
        settings: The service.
        num_files: Files of the folder.
        num_requests: Images that were not asked before; two files of the same bytes are one.
        picture_bytes: Of a picture that is sent, on average over a sample.
    """

    settings: CloudSettings
    num_files: int
    num_requests: int
    picture_bytes: int

    @property
    def cost(self) -> float | None:
        """US dollars; None where it is not known beforehand."""
        each = self.settings.price_per_image
        return None if each is None else each * self.num_requests

    def sentence(self) -> str:
        """What is sent where, and for how much."""
        cost = "at a price by tokens, which is not known beforehand"
        if self.cost is not None:
            cost = f"for about ${self.cost:.2f}"
        side = self.settings.image_size
        return (
            f"{PREFIX}{self.settings.service} will be sent {count(self.num_requests, 'picture')} of {side} x {side} "
            f"pixels and about {self.picture_bytes / 1000:.0f} KB each, without metadata, {cost}; "
            f"{self.num_files - self.num_requests:,} of {self.num_files:,} files were asked before, or are no images."
        )

    def check(self) -> None:
        """Refuse what is over a limit, before anything is sent.

        Raises:
            InputError: naming the limit.
        """
        limit, cost = self.settings.max_requests, self.cost
        if limit is not None and self.num_requests > limit:
            raise InputError(
                f"{count(self.num_requests, 'request')} are needed, and --max-requests allows {limit:,}. Raise it, or "
                "score fewer files."
            )
        if self.settings.max_cost is not None and cost is not None and cost > self.settings.max_cost:
            raise InputError(
                f"About ${cost:.2f} are needed, and --max-cost allows ${self.settings.max_cost:.2f}. Raise it, or "
                "score fewer files."
            )


class Spending:
    """What a run has spent; it stops before it goes over a limit. Thread-safe.

    Args:
        settings: The limits, and the price.
    """

    def __init__(self, settings: CloudSettings) -> None:
        self._settings, self._lock = settings, threading.Lock()
        self.num_requests = 0
        self.cost = 0.0

    def begin(self) -> None:
        """Count a request before it is sent.

        Raises:
            WorkError: where a limit is reached.
        """
        limit, most = self._settings.max_requests, self._settings.max_cost
        with self._lock:
            if limit is not None and self.num_requests >= limit:
                raise _reached(f"--max-requests {limit:,}")
            price = self._settings.price_per_image or 0.0
            if most is not None and self.cost + price > most + _ROUNDING:
                raise _reached(f"--max-cost {most:g}")
            self.num_requests += 1
            self.cost += price  # before the answer, since others are asked for meanwhile

    def end(self, answer: Answer) -> None:
        """Count the tokens of an answer.

        Args:
            answer: The service's.
        """
        with self._lock:
            self.cost += self._settings.token_cost(answer.input_tokens, answer.output_tokens)


def _reached(limit: str) -> WorkError:
    return WorkError(
        f"{limit} is reached. All answers so far are kept: raise the limit, and start the same command again."
    )
