"""Refusals in OpenAI's form, for the guard, unknown routes, invalid bodies and the services alike."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from openledger_protocol.errors import ProtocolError

from ..contained import refusal_of
from ..errors import NodeError
from . import openai

CODES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "invalid_api_key",
    403: "forbidden",
    404: "unknown_url",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    503: "too_many_connections",
}
"""The `code` of a refusal that comes from HTTP rather than from a service."""

NO_EMBEDDINGS = (
    "this node serves no embeddings: its bases generate text. Point the client's embeddings at another server, "
    "or at its own model"
)


def add_refusals(app: FastAPI) -> None:
    """Make every failure in the routes answer in the same form."""

    @app.exception_handler(ProtocolError)
    @app.exception_handler(NodeError)
    @app.exception_handler(OSError)
    async def refuse(_: Request, failure: ProtocolError | NodeError | OSError) -> JSONResponse:
        error = refusal_of(failure)
        status, _kind = openai.HTTP_STATUS.get(type(error), (400, ""))
        is_passing = error.retryable and status != openai.PAYMENT_REQUIRED  # money does not come by waiting
        headers = {"Retry-After": str(openai.RETRY_AFTER_S)} if is_passing else None
        return JSONResponse(openai.error_body(error), status_code=status, headers=headers)

    @app.exception_handler(RequestValidationError)
    async def refuse_fields(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["loc"] == ("body",) and "json" not in request.headers.get("content-type", ""):
            return refusal(400, "the body is not sent as JSON: add the header Content-Type: application/json")
        if first["type"] == "json_invalid":
            return refusal(400, f"the body is not valid JSON: {first['ctx']['error']}")
        name = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
        return refusal(400, f"{name}: {first['msg']}", param=name)

    @app.exception_handler(HTTPException)
    async def refuse_http(_: Request, error: HTTPException) -> JSONResponse:
        return refusal(error.status_code, str(error.detail), headers=error.headers)


def refusal(
    status: int,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Build the response of a refusal."""
    error = {
        "message": openai.sendable(message),
        "type": "invalid_request_error" if status < 500 else "server_error",
        "param": param and openai.sendable(param),
        "code": code or CODES.get(status),
    }
    return JSONResponse({"error": error}, status_code=status, headers=dict(headers or {}))


# ---- The OpenAPI description that /openapi.json serves and the docs keep.

SCHEME = "key"


class ErrorInside(BaseModel):
    """The failure of a request."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """A refusal, in OpenAI's form."""

    error: ErrorInside


REFUSALS: dict[int | str, dict[str, Any]] = {"default": {"model": ErrorBody, "description": "A refusal."}}


def describe(app: FastAPI, *, open_paths: frozenset[str]) -> dict[str, Any]:
    """Build the OpenAPI description; `open_paths` need no key."""
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
