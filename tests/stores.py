"""An S3 server on this machine (moto's), with faults in front of it, for tests of object stores."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

KEY, SECRET = "AKIADARKROOMTESTS0", "never/to+be/shown"


@dataclass
class S3:
    """The server, what it was asked, and what it does wrong.

    Attributes:
        url: Its address.
        asked: `METHOD /bucket/key?query` of each request.
        faults: Called with each of those; an HTTP status is answered in place of the store's own answer.
    """

    url: str = ""
    asked: list[str] = field(default_factory=list)
    faults: list[Callable[[str], int | None]] = field(default_factory=list)

    def put(self, path: str, data: bytes = b"") -> None:
        """Put an object at `bucket/key`, or make the bucket where there is no key."""
        bucket, _, key = path.partition("/")
        if key:
            self.client.put_object(Bucket=bucket, Key=key, Body=data)
        else:
            self.client.create_bucket(Bucket=bucket)

    def put_folder(self, folder: Path, path: str) -> None:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.put(f"{path}/{file.relative_to(folder).as_posix()}", file.read_bytes())

    def objects(self, path: str) -> dict[str, bytes]:
        """Every object below `bucket/prefix`, by its name relative to that."""
        bucket, _, key = path.partition("/")
        prefix = f"{key}/" if key else ""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [each["Key"] for page in pages for each in page.get("Contents", ())]
        return {name[len(prefix) :]: self.client.get_object(Bucket=bucket, Key=name)["Body"].read() for name in keys}

    def delete(self, path: str) -> None:
        bucket, _, key = path.partition("/")
        self.client.delete_object(Bucket=bucket, Key=key)

    @cached_property
    def client(self) -> Any:
        """Another client than the one under test; what it asks is neither recorded nor refused."""
        import boto3

        return boto3.client("s3", endpoint_url=self.url)

    @contextmanager
    def recording(self) -> Iterator[list[str]]:
        """What is asked meanwhile."""
        begin = len(self.asked)
        found: list[str] = []
        yield found
        found += self.asked[begin:]

    def failing(self, wanted: str, status: int, times: int = 1_000_000) -> list[str]:
        """Answer so many requests that contain `wanted` with `status`; gives those that were, as they come."""
        met: list[str] = []

        def fault(request: str) -> int | None:
            if wanted not in request or len(met) >= times:
                return None
            met.append(request)
            return status

        self.faults.append(fault)
        return met


_CODES = {403: "AccessDenied", 404: "NoSuchKey", 500: "InternalError", 503: "ServiceUnavailable"}


def _application(server: S3) -> Any:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    store = DomainDispatcherApplication(create_backend_app)

    def answer(environ: Any, start_response: Any) -> Any:
        query = environ.get("QUERY_STRING", "")
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}{'?' + query if query else ''}"
        if "boto3" not in environ.get("HTTP_USER_AGENT", "").lower():
            server.asked.append(request)
            if f"Credential={KEY}/" not in environ.get("HTTP_AUTHORIZATION", ""):
                return refuse(403, "InvalidAccessKeyId", environ, start_response)
            for fault in server.faults:
                if status := fault(request):
                    return refuse(status, _CODES[status], environ, start_response)
        return store(environ, start_response)

    def refuse(status: int, code: str, environ: Any, start_response: Any) -> Any:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{KEY} {SECRET}</Message></Error>".encode()
        start_response(f"{status} {code}", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    return answer


@contextmanager
def s3_server() -> Iterator[S3]:
    """A server with nothing in it on a free port, and an environment in which clients find it and nobody's secrets."""
    import s3fs
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = S3()
    listening = make_server("127.0.0.1", 0, _application(server), threaded=True)
    server.url = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    environment = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": server.url,
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "4",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        try:
            yield server
        finally:
            s3fs.S3FileSystem.clear_instance_cache()
            listening.shutdown()
            thread.join()
            listening.server_close()
