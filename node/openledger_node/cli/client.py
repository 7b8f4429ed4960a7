"""A client of this machine's own API, as any other program would be one."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from ..errors import NodeError
from ..home import Home
from ..keys import load_api_key
from .context import answer_of, ask_daemon, open_socket, raise_refusal

CONNECT_TIMEOUT_S = 5.0
CHUNK_TIMEOUT_S = 600.0  # a big model on a small card may think for long before its first token


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiAddress:
    """Where the API is, and the key to it."""

    url: str
    key: str
    base: str


def find_api(home: Home) -> ApiAddress:
    """Find the running node's API.

    Raises:
        NodeError: no node runs, or it is still loading.
    """
    status = ask_daemon(home, "GET", "/status")
    if status is None:
        raise NodeError("no node runs on this home: start one with `openledger-node start` in another terminal")
    if status["state"] in ("starting", "draining"):
        raise NodeError(f"the node is {status['state']}: try again in a moment")
    return ApiAddress(url=status["api"]["url"], key=load_api_key(home), base=status["base"])


def stream_chat(address: ApiAddress, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Send a chat request and yield the events of its stream.

    Raises:
        NodeError: the node refused it, or the connection broke.
    """
    timeout = httpx.Timeout(CHUNK_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    headers = {"Authorization": f"Bearer {address.key}"}
    content = {**body, "stream": True, "stream_options": {"include_usage": True}}
    try:
        with (
            httpx.Client(base_url=address.url, headers=headers, timeout=timeout) as client,
            client.stream("POST", "/v1/chat/completions", json=content) as response,
        ):
            if response.is_error:
                response.read()
                raise NodeError(response.json()["error"]["message"])
            yield from _events(response.iter_lines())
    except httpx.HTTPError as error:
        raise NodeError(f"the connection to {address.url} broke: {error}") from error


def stream_guest(home: Home, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Have the daemon's guest buy an answer: pieces of text, then what was paid.

    Raises:
        NodeError: it was refused, or the daemon went away.
    """
    try:
        with (
            open_socket(home, CHUNK_TIMEOUT_S) as client,
            client.stream("POST", "/guest", json=body) as response,
        ):
            if response.is_error:
                response.read()
                answer_of(response)
            for line in response.iter_lines():
                raise_refusal(found := json.loads(line))
                yield found
    except httpx.HTTPError as error:
        raise NodeError(f"the daemon went away: {error}") from error


def text_of(event: dict[str, Any]) -> str:
    """The text that one event adds to the answer."""
    return event["choices"][0]["delta"].get("content", "") if event["choices"] else ""


def _events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        content = line.removeprefix("data: ")
        if not content or content == "[DONE]":
            continue
        event = json.loads(content)
        if "error" in event:
            raise NodeError(event["error"]["message"])
        yield event
