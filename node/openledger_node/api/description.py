"""The API described in OpenAPI, as /openapi.json serves it and the docs keep it."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

SCHEME = "key"


class ErrorInside(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """A refusal, in OpenAI's form."""

    error: ErrorInside


REFUSALS: dict[int | str, dict[str, Any]] = {"default": {"model": ErrorBody, "description": "A refusal."}}


def describe(app: FastAPI, *, open_paths: frozenset[str]) -> dict[str, Any]:
    """The description; `open_paths` want no key."""
    described = get_openapi(
        title=app.title,
        version=app.version,
        summary="OpenAI's API over this node and its network.",
        routes=app.routes,
    )
    described["components"]["securitySchemes"] = {SCHEME: {"type": "http", "scheme": "bearer"}}
    described["security"] = [{SCHEME: []}]
    for path in open_paths & described["paths"].keys():
        for operation in described["paths"][path].values():
            operation["security"] = []
    return described
