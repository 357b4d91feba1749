"""The images of a request: files of a form, or base64 in JSON."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from darkroom.data.stores.listing import printable
from darkroom.models.serving.batcher import Item
from darkroom.models.serving.http.access import too_large

FIELD = "images"
_MAX_NAME = 1000
_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


class ImageInJson(BaseModel):
    """An image as base64."""

    model_config = ConfigDict(extra="forbid")

    data: str = Field(description="The bytes of a file, base64", json_schema_extra={"pattern": _BASE64})
    name: Annotated[str, Field(max_length=_MAX_NAME)] | None = Field(
        default=None, description="Is given back as `path`"
    )


class ImagesInJson(BaseModel):
    """A request in JSON."""

    model_config = ConfigDict(extra="forbid")

    images: list[ImageInJson] = Field(min_length=1, description="In the order of the answers")


def describe_body(max_images: int) -> dict[str, Any]:
    """The body in OpenAPI's words: FastAPI writes them itself only where it also reads the body, in one form.

    Args:
        max_images: Of one request.
    """
    several = {"type": "array", "minItems": 1, "maxItems": max_images}
    form = {FIELD: {**several, "items": {"type": "string", "format": "binary"}}}
    image = ImageInJson.model_json_schema()
    body = {FIELD: {**several, "items": image}}
    content = {"multipart/form-data": form, "application/json": body}
    return {
        "requestBody": {
            "required": True,
            "content": {
                kind: {
                    "schema": {
                        "type": "object",
                        "required": [FIELD],
                        "properties": properties,
                        "additionalProperties": False,
                    }
                }
                for kind, properties in content.items()
            },
        }
    }


async def read_images(request: Request, max_images: int) -> list[Item]:
    """The names and bytes of a request's images.

    Args:
        request: A form with files under `images`, or JSON as in `ImagesInJson`.
        max_images: More are refused.

    Raises:
        HTTPException: 413, 415 or 422, with a sentence.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        found = await _from_form(request, max_images)
    elif kind == "application/json":
        found = _from_json(await request.body())
    else:
        raise HTTPException(415, f"Send multipart/form-data or application/json, not {printable(kind)[:100]!r}.")
    if len(found) > max_images:
        raise _too_many(max_images)
    if not found:
        raise HTTPException(422, f"There is no image. Send one or more files as {FIELD!r}.")
    return found


async def _from_form(request: Request, max_images: int) -> list[Item]:
    found: list[Item] = []
    async with request.form(max_files=max_images + 1, max_fields=1) as form:
        for name, part in form.multi_items():
            if name != FIELD or not isinstance(part, UploadFile):
                raise HTTPException(422, f"{printable(name)[:100]!r} is no file called {FIELD!r}. Send nothing else.")
            if len(found) == max_images:
                raise _too_many(max_images)
            found.append((_name(part.filename), await part.read()))
    return found


def _from_json(body: bytes) -> list[Item]:
    try:
        given = ImagesInJson.model_validate(json.loads(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise HTTPException(422, f"{printable(where)[:200]}: {first['msg']}.") from None
    except (ValueError, RecursionError):
        raise HTTPException(422, "The body is not JSON.") from None
    return [(_name(image.name), _decoded(image.data, number)) for number, image in enumerate(given.images)]


def _decoded(data: str, number: int) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise HTTPException(422, f"images.{number}.data is not base64.") from None


def _name(name: str | None) -> str | None:
    return printable(name)[:_MAX_NAME] if name else None


def _too_many(max_images: int) -> HTTPException:
    return too_large(f"There are more than {max_images} images. Send fewer at once.")
