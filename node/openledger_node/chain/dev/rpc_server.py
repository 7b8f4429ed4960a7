"""JSON-RPC over HTTP on loopback: checks of requests, batches, and the form of results and errors."""

import json
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from ..rpc import INVALID_REQUEST, PARSE_ERROR, RpcError, parse_json, shorten
from .constants import HOST, port_taken

LOOPBACK_NAMES: Final = frozenset({HOST, "localhost", "::1"})
BODY_BYTES_MAX: Final = 4 << 20
LENGTH_DIGITS_MAX: Final = 20  # Python refuses to parse a number of thousands of digits
BATCH_MAX: Final = 1_000
IDLE_S: Final = 60.0

Answer = Callable[[str, list[Any]], object]


class RpcServer(ThreadingHTTPServer):
    """Answers each request by `answer`, with one thread per connection."""

    daemon_threads = True
    request_queue_size = 128  # connections at once; if the queue is full, the next one waits 1 s

    def __init__(self, port: int, answer: Answer) -> None:
        self.answer = answer
        super().__init__((HOST, port), _Handler)

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"http://{HOST}:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore broken connections, which are the client's affair; show everything else, which is our bug."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def open_server(port: int, answer: Answer) -> RpcServer:
    """Listen on a port; 0 takes any free one.

    Raises:
        ChainError: the port is taken.
    """
    try:
        return RpcServer(port, answer)
    except OSError as error:
        raise port_taken(port, error) from error


def respond(body: bytes, answer: Answer) -> bytes:
    """The response body for a request or a batch; empty if it holds only notifications."""
    try:
        request = parse_json(body)
    except ValueError:
        return _encoded(_failure(None, RpcError(PARSE_ERROR, "parse error")))
    if not isinstance(request, list):
        return _encoded(_respond_one(request, answer))
    if not 0 < len(request) <= BATCH_MAX:
        return _encoded(_failure(None, RpcError(INVALID_REQUEST, f"a batch has 1 to {BATCH_MAX} requests")))
    answers = [found for each in request if (found := _respond_one(each, answer))]
    return _encoded(answers or None)


def _respond_one(request: Any, answer: Answer) -> dict[str, Any] | None:
    try:
        method, params = _method_and_params(request)
    except RpcError as error:
        return _failure(None, error)
    try:
        found = {"jsonrpc": "2.0", "id": request.get("id"), "result": answer(method, params)}
    except RpcError as error:
        found = _failure(request.get("id"), error)
    return found if "id" in request else None


def _method_and_params(request: Any) -> tuple[str, list[Any]]:
    if not isinstance(request, dict) or not isinstance(request.get("method"), str):
        raise RpcError(INVALID_REQUEST, f"invalid request: {shorten(request)}")
    params = request.get("params") or []
    if not isinstance(params, list):
        raise RpcError(INVALID_REQUEST, "params by name are not supported: send a list")
    return request["method"], params


def _failure(request_id: Any, error: RpcError) -> dict[str, Any]:
    fields = {"code": error.code, "message": error.message}
    if error.data is not None:
        fields["data"] = error.data
    return {"jsonrpc": "2.0", "id": request_id, "error": fields}


def _encoded(answer: object) -> bytes:
    return b"" if answer is None else json.dumps(answer, separators=(",", ":")).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout: ClassVar[float] = IDLE_S
    # NOTE: an answer in small writes with Nagle's algorithm takes 40 ms each.
    wbufsize: ClassVar[int] = 64 << 10
    disable_nagle_algorithm: ClassVar[bool] = True
    server: RpcServer

    def do_POST(self) -> None:
        """Answer one request."""
        if refusal := self._refusal():
            self.close_connection = True  # the body is not read
            self._send(refusal, b"")
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._send(HTTPStatus.OK, respond(body, self.server.answer))

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: nobody reads a line per request."""

    def _refusal(self) -> HTTPStatus | None:
        """Refuse web pages of other sites, by their Host header and by the content type that they can't send."""
        if not _is_loopback(self.headers.get("Host", "")):
            return HTTPStatus.FORBIDDEN
        if self.headers.get_content_type() != "application/json":
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            return HTTPStatus.LENGTH_REQUIRED
        if len(length) > LENGTH_DIGITS_MAX or int(length) > BODY_BYTES_MAX:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return None

    def _send(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def _is_loopback(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").hostname in LOOPBACK_NAMES
    except ValueError:
        return False
