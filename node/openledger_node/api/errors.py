"""Refusals in OpenAI's form or Anthropic's, for the guard, unknown routes, invalid bodies and services alike."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openledger_protocol.errors import ProtocolError

from ..contained import log_mistake, refusal_of
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
    500: "internal_error",
    503: "too_many_connections",
}
"""The `code` of a refusal that comes from HTTP rather than from a service."""

ANTHROPIC = "/v1/messages"
"""The routes with this beginning speak Anthropic's dialect."""

ANTHROPIC_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
"""Types of errors in Anthropic's dialect by status; all others are `invalid_request_error`."""

TOO_DEEP = "the body has lists or objects nested too deeply: send it flatter"
MISTAKE = "this node has failed at this request by a mistake of its own: its log says where"
NOT_JSON = "the body was not read as JSON: send the header Content-Type: application/json"


def add_refusals(app: FastAPI) -> None:
    """Make every failure in the routes answer in the same form."""
    app.add_middleware(Mistakes)

    @app.exception_handler(ProtocolError)
    @app.exception_handler(NodeError)
    @app.exception_handler(OSError)
    async def refuse(http: Request, failure: ProtocolError | NodeError | OSError) -> JSONResponse:
        error = refusal_of(failure)
        status = openai.status_of(error)
        is_passing = error.retryable and status != openai.PAYMENT_REQUIRED  # money does not come by waiting
        headers = {"Retry-After": str(openai.RETRY_AFTER_S)} if is_passing else None
        body = anthropic_error(error) if is_anthropic(http.url.path) else openai.error_body(error)
        return JSONResponse(body, status_code=status, headers=headers)

    @app.exception_handler(RequestValidationError)
    async def refuse_fields(http: Request, error: RequestValidationError) -> JSONResponse:
        if not is_json(http.headers.get("content-type", "")):
            return refusal(400, NOT_JSON, path=http.url.path, param="body")
        name, message = why_invalid(error.errors())
        return refusal(400, message, path=http.url.path, param=name)

    @app.exception_handler(RecursionError)
    async def refuse_depth(http: Request, _: RecursionError) -> JSONResponse:
        return refusal(400, TOO_DEEP, path=http.url.path, param="body")

    @app.exception_handler(HTTPException)
    async def refuse_http(http: Request, error: HTTPException) -> JSONResponse:
        return refusal(error.status_code, str(error.detail), path=http.url.path, headers=error.headers)


class Mistakes:
    """Answers in the form of the dialect where a route fails by a mistake of ours, and logs it once."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            Exception: the route failed after its answer had begun; the server logs it and ends the connection.
        """
        has_begun = False

        async def note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except Exception as error:
            if has_begun or scope["type"] != "http":
                raise
            log_mistake(error)
            await refusal(500, MISTAKE, path=scope["path"])(scope, receive, send)


# ---- Bodies that do not have the form of their route, in words rather than in those of pydantic.

FORMS: Mapping[str, str] = {
    "bool": "true or false",
    "dict": "an object",
    "enum": "one of its values",
    "float": "a number",
    "finite_number": "a number",
    "int": "a whole number",
    "list": "a list",
    "model": "an object",
    "string": "a string",
}
"""The form that a value must have, by the first word of pydantic's error type."""


FORM_MARKS = frozenset({"bool", "float", "int", "str"})


def is_json(content_type: str) -> bool:
    """True if a body of this type is read as JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def why_invalid(errors: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The name of the field that is wrong, and a sentence on it.

    Where a field may have several forms, each form has an error. The deepest is of the form that was meant.
    """
    if errors[0]["type"] == "json_invalid":
        return "body", f"the body is not valid JSON: {errors[0]['ctx']['error']}"
    named = [(_path(error["loc"]), error) for error in errors]
    path = max((path for path, _ in named if path[:1] == named[0][0][:1]), key=len)
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    wrong = [error for each, error in named if each == path]
    return name or "body", f"{name or 'the body'} {_rule(wrong)}"


def _path(loc: Sequence[str | int]) -> tuple[str | int, ...]:
    """The names on the way to a value, without pydantic's marks of a union's forms."""
    return tuple(part for part in loc[1:] if isinstance(part, int) or not (part in FORM_MARKS or "[" in part))


def _rule(errors: Sequence[Mapping[str, Any]]) -> str:
    """The rule that a value breaks; of several forms all are named."""
    first = errors[0]
    match first["type"]:
        case "missing":
            return "is required"
        case "too_short":
            return "must not be empty"
        case "greater_than_equal":
            return f"must be at least {first['ctx']['ge']}"
        case "less_than_equal":
            return f"must be at most {first['ctx']['le']}"
    forms = [FORMS.get(error["type"]) or FORMS.get(error["type"].partition("_")[0]) for error in errors]
    if None in forms:
        return f"is not valid: {first['msg']}"
    return f"must be {' or '.join(dict.fromkeys(form for form in forms if form))}"


def refusal(
    status: int,
    message: str,
    *,
    path: str = "",
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Build the response of a refusal, in the dialect of its path."""
    if is_anthropic(path):
        return JSONResponse(_anthropic_body(status, message), status_code=status, headers=dict(headers or {}))
    error = {
        "message": openai.sendable(message),
        "type": "invalid_request_error" if status < 500 else "server_error",
        "param": param and openai.sendable(param),
        "code": code or CODES.get(status),
    }
    return JSONResponse({"error": error}, status_code=status, headers=dict(headers or {}))


def is_anthropic(path: str) -> bool:
    """Return True for a route of Anthropic's dialect."""
    return path == ANTHROPIC or path.startswith(f"{ANTHROPIC}/")


def anthropic_error(error: ProtocolError) -> dict[str, Any]:
    """A refusal in Anthropic's form."""
    return _anthropic_body(openai.status_of(error), error.message)


def _anthropic_body(status: int, message: str) -> dict[str, Any]:
    kind = ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": openai.sendable(message)}}


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
