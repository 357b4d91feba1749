"""Small servers that speak the documented requests of recognition services, and say what colour a picture has."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

# The words of a picture, the surest first; the last is said of each.
WORDS = {
    "amber": (("Honey", 0.95), ("Surface", 0.5)),
    "blue": (("Sky", 0.91), ("Surface", 0.6)),
    "green": (("Grass", 0.87), ("Surface", 0.7)),
}
_COLOURS = {"amber": (200, 140, 40), "blue": (40, 70, 200), "green": (50, 170, 60)}
# Status and body with which a service answers in place of words.
Refusal = tuple[int, Any]


@dataclass
class Seen:
    """What a stand-in was asked, and how it is to misbehave.

    Attributes:
        pictures: The bytes of each picture, in the order of arrival.
        refuse: Takes the number of a request, from 0; a refusal, or None for an answer.
        seconds: How long each answer takes.
        secrets: The headers and query that carried credentials.
    """

    pictures: list[bytes] = field(default_factory=list)
    refuse: Callable[[int], Refusal | None] = lambda number: None
    seconds: float = 0.0
    secrets: list[str] = field(default_factory=list)


def colour_of(picture: bytes) -> str:
    """The class of a picture, by the colour of its middle."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), np.float64)
    height, width, _ = pixels.shape
    middle = pixels[height // 3 : height * 2 // 3, width // 3 : width * 2 // 3].mean(axis=(0, 1))
    return min(_COLOURS, key=lambda name: float(np.abs(middle - _COLOURS[name]).sum()))


def _rekognition(body: Any, say: Callable[[bytes], str]) -> Any:
    colour = say(base64.b64decode(body["Image"]["Bytes"]))
    labels = [{"Name": word, "Confidence": sure * 100} for word, sure in WORDS[colour][: body["MaxLabels"]]]
    return {"Labels": labels, "LabelModelVersion": "3.0"}


def _google(body: Any, say: Callable[[bytes], str]) -> Any:
    (request,) = body["requests"]
    assert request["features"][0]["type"] in ("LABEL_DETECTION", 4)
    colour = say(base64.b64decode(request["image"]["content"]))
    return {"responses": [{"labelAnnotations": [{"description": word, "score": sure} for word, sure in WORDS[colour]]}]}


def _azure(body: bytes, say: Callable[[bytes], str]) -> Any:
    tags = [{"name": word, "confidence": sure} for word, sure in reversed(WORDS[say(body)])]
    return {"modelVersion": "2023-10-01", "metadata": {"width": 9, "height": 9}, "tagsResult": {"values": tags}}


def _openai(body: Any, say: Callable[[bytes], str]) -> Any:
    text, image = body["messages"][0]["content"]
    classes = body["response_format"]["json_schema"]["schema"]["properties"]["label"]["enum"]
    colour = say(base64.b64decode(image["image_url"]["url"].partition(",")[2]))
    assert all(each in text["text"] for each in classes)
    answer = {"label": colour if colour in classes else classes[-1], "confidence": WORDS[colour][0][1]}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": f"{body['model']}-2026",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": json.dumps(answer)}}
        ],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010},
    }


_SPEAK: dict[str, Callable[..., Any]] = {
    "aws-rekognition": _rekognition,
    "google-vision": _google,
    "azure-vision": _azure,
    "openai-compatible": _openai,
}


@contextmanager
def stand_in(service: str) -> Iterator[tuple[str, Seen]]:
    """A server on this machine; its address and what it sees."""
    seen, lock = Seen(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                number = len(seen.pictures)
                refusal = seen.refuse(number)
                names = ("Authorization", "Ocp-Apim-Subscription-Key", "api-key", "X-Amz-Security-Token")
                seen.secrets += [self.headers[name] for name in names if self.headers[name]]

                def say(picture: bytes) -> str:
                    seen.pictures.append(picture)
                    return colour_of(picture)

                answer = _SPEAK[service](data if service == "azure-vision" else json.loads(data), say)
            time.sleep(seen.seconds)
            status, content = refusal or (200, answer)
            text = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1" if "aws" in service else "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
