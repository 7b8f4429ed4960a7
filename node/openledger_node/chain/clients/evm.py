"""A chain behind a JSON-RPC endpoint over HTTP, without retries; the caller knows which request is safe to repeat."""

import itertools
import json
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from ...errors import ChainError
from ..client import ChainClient
from ..deadline import Deadline, hold_to
from ..rpc import RpcError, parse_json, shorten
from ..rpc_client import RpcClient

TIMEOUT_S: Final = 10.0
KEEP_ALIVE_S: Final = 58.0
"""Longer than the usual pause of an idle node, which would otherwise pay for a TLS handshake at each look.

Many load balancers close a connection after 60 s, and a request must not leave just as one does.
"""

ANSWER_BYTES_MAX: Final = 32 << 20
"""Enough for the logs of a few thousand claims; the watcher requests more in smaller steps."""

OWN_CHAIN: Final = "this node's own development chain"
OWN_REMEDY: Final = "the node starts it again if it has ended, and the node's log shows what it said last"

LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "::1"})
JSON_STATUSES: Final = frozenset({200, 400})
"""HTTP statuses whose body is JSON-RPC, errors included."""

LIMITED_CODES: Final = frozenset({-32005, 429})
"""Rate limits, which say nothing about the transaction or call of the request."""


def open_client(
    url: str,
    *,
    timeout_s: float = TIMEOUT_S,
    chain_id: int | None = None,
    second: ChainClient | None = None,
    is_own: bool = False,
) -> RpcClient:
    """A client of one endpoint, without any request yet. If `chain_id` is given, it must be of that chain.

    If there is a `second` endpoint, a block is final once both say so.

    `is_own`: the endpoint is a process of this node, which starts it again if it ends.

    A request fails after `timeout_s`, whether the endpoint is silent or sends its answer in drops.

    Raises:
        ChainError: `url` is not an http or https URL.
    """
    return RpcClient(HttpEndpoint(url, timeout_s, is_own=is_own), chain_id=chain_id, second=second)


class HttpEndpoint:
    """Sends requests to one URL; threads may share it."""

    def __init__(self, url: str, timeout_s: float, *, is_own: bool = False) -> None:
        host = _check_url(url)
        self.name = OWN_CHAIN if is_own else f"the endpoint at {host}"  # the rest of the URL may hold an API key
        self._remedy = OWN_REMEDY if is_own else "check that it is running, and its address"
        self._url = url
        self._timeout_s = timeout_s
        self._ids = itertools.count(1)
        self._deadline = Deadline()
        self._client = httpx.Client(
            timeout=timeout_s,
            limits=httpx.Limits(keepalive_expiry=KEEP_ALIVE_S),
            trust_env=host.rpartition(":")[0].strip("[]") not in LOOPBACK_NAMES,  # a proxy can't reach our loopback
        )
        hold_to(self._client, self._deadline)

    def ask(self, method: str, params: list[Any]) -> Any:
        """Send one request and return its result.

        Raises:
            RpcError: the response is an error.
            ChainError: there is no response, or it does not belong to this request.
        """
        request_id = next(self._ids)
        question = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
        status, body = self._post(json.dumps(question).encode())
        if status not in JSON_STATUSES:
            raise ChainError(
                f"{self.name} answers {method} with HTTP status {status}: try again, or use another endpoint"
            )
        try:
            return _result(parse_json(body), request_id)
        except ValueError as error:
            raise ChainError(f"{self.name} does not speak JSON-RPC ({error}): check its address") from error
        except RpcError as error:
            if error.code in LIMITED_CODES:
                raise ChainError(f"{self.name} limits the rate of requests: {error.message[:200]}") from error
            raise

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _post(self, question: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"}
        answer = bytearray()
        try:
            with (
                self._deadline.within(self._timeout_s),
                self._client.stream("POST", self._url, content=question, headers=headers) as response,
            ):
                for chunk in response.iter_bytes():
                    answer += chunk
                    if len(answer) > ANSWER_BYTES_MAX:
                        raise ChainError(f"{self.name} answers with more than {ANSWER_BYTES_MAX} bytes")
        except httpx.TimeoutException as error:
            raise ChainError(f"{self.name} does not answer within {self._timeout_s:g} s: {self._remedy}") from error
        except httpx.HTTPError as error:
            raise ChainError(f"{self.name} does not answer ({type(error).__name__}): {self._remedy}") from error
        return response.status_code, bytes(answer)


def _check_url(url: str) -> str:
    """Host and port of a URL."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        if not parts.hostname:
            raise ValueError
    except (ValueError, KeyError) as error:
        raise ChainError(
            f"not an address of an endpoint: use one that starts with http:// or https://, not {url[:8]!r}"
        ) from error
    return f"[{parts.hostname}]:{port}" if ":" in parts.hostname else f"{parts.hostname}:{port}"


def _result(answer: Any, request_id: int) -> Any:
    if not isinstance(answer, dict) or answer.get("id") != request_id:
        raise ValueError(f"not a response to the request: {shorten(answer)}")
    if (error := answer.get("error")) is not None:
        if not isinstance(error, dict) or not isinstance(error.get("code"), int):
            raise ValueError(f"a malformed error: {shorten(error)}")
        raise RpcError(error["code"], str(error.get("message")), error.get("data"))
    if "result" not in answer:
        raise ValueError(f"no result: {shorten(answer)}")
    return answer["result"]
