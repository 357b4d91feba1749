"""Who may call, and how much all callers may keep in memory: checked before a request's body is read."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

RETRY_AFTER_SECONDS = 1


class Keys:
    """The API keys that are accepted; none means that anybody may call.

    Args:
        keys: In clear; only their hashes are kept.
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._hashes = [_hash(key) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def check(self, request: Request) -> None:
        """Refuse a request without a key: `Authorization: Bearer KEY`, or `X-API-Key: KEY`.

        Args:
            request: Its headers are looked at.

        Raises:
            HTTPException: 401.
        """
        if not self._hashes:
            return
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
        found = _hash(given)
        matches = [hmac.compare_digest(found, known) for known in self._hashes]  # all of them: in equal time
        if not any(matches):
            sentence = "Send a valid API key as 'Authorization: Bearer KEY'."
            raise HTTPException(401, sentence, {"WWW-Authenticate": "Bearer"})


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def overloaded() -> HTTPException:
    """The answer to what comes while there is no room."""
    return HTTPException(429, "The service is busy. Try again in a moment.", {"Retry-After": str(RETRY_AFTER_SECONDS)})


class BodyLimits:
    """ASGI middleware that bounds the bytes of one request, and those of all requests that are being worked on.

    Args:
        app: What comes next.
        max_request_bytes: Of one request; more are answered with 413.
        max_held_bytes: Of all; more are answered with 429.
    """

    def __init__(self, app: ASGIApp, max_request_bytes: int, max_held_bytes: int) -> None:
        self._app = app
        self._max_request_bytes, self._max_held_bytes = max_request_bytes, max_held_bytes
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, counting its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        held = 0

        async def counted() -> Message:
            nonlocal held
            message = await receive()
            size = len(message.get("body", b""))
            held += size
            self._held += size
            self._check(held)
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            self._held -= held

    def _check(self, held: int) -> None:
        if held > self._max_request_bytes:
            raise too_large(f"The request has more than {self._max_request_bytes:,} bytes. Send fewer images at once.")
        if self._held > self._max_held_bytes:
            raise overloaded()


def too_large(sentence: str) -> HTTPException:
    """The answer to a request that is past a limit.

    Args:
        sentence: Which one, and what to do.
    """
    return HTTPException(413, sentence)
