"""One streamed answer of vLLM, which generates tokens by itself; a thread reads them, and steps take them."""

import contextlib
import json
import socket
import threading
from collections import deque
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any

from openledger_protocol.inference import SamplingParams

from ...engine.backend import Drawn
from .client import Client, ServerLostError, close_response, reason_of

READ_BYTES = 1 << 16
TOKEN_PREFIX = "token_id:"
BAD_REQUEST, UNPROCESSABLE = 400, 422


class RequestRefusedError(Exception):
    """vLLM refuses this request; other requests continue."""


class _Over(Exception):  # an end, and no error
    """The server has ended the answer."""


class Stream:
    """A completion that runs on the server until its last token, or until it is closed; a thread reads it."""

    def __init__(
        self,
        client: Client,
        *,
        prompt_ids: Sequence[int],
        sampling: SamplingParams,
        body: object,
        arrival: threading.Condition,
    ) -> None:
        """Start the completion; `arrival` is notified whenever there is more to read.

        Raises:
            ServerLostError: the server does not accept connections.
        """
        self.sampling = sampling
        self.position = len(prompt_ids)  # of the next token
        self.last = prompt_ids[-1]
        self._arrival = arrival
        self._connection: HTTPConnection = client.send("POST", "/v1/completions", body)
        self._socket = self._connection.sock
        self._response: HTTPResponse | None = None
        self._received = b""  # the start of an incomplete event
        self._arrived: deque[Drawn] = deque()  # at most the request's max_tokens
        self._end: Exception | None = None  # the reason why no more tokens come after those that have arrived
        self._thread = threading.Thread(target=self._follow, name="vllm-stream", daemon=True)
        self._thread.start()

    @property
    def is_ready(self) -> bool:
        """True if `next` would not wait."""
        return bool(self._arrived) or self._end is not None

    def next(self) -> Drawn | None:
        """Wait for the next token, or return None if the server has ended the answer.

        Raises:
            RequestRefusedError: the server refuses the request.
            ServerLostError: the connection broke.
        """
        with self._arrival:
            self._arrival.wait_for(lambda: self.is_ready)
        if self._arrived:
            drawn = self._arrived.popleft()
            self.position += 1
            self.last = drawn.token
            return drawn
        if isinstance(self._end, _Over):
            return None
        assert self._end is not None, "it is ready, and no token has arrived"
        raise self._end

    def close(self) -> None:
        """Close the connection, which makes vLLM stop, and wait for the thread."""
        with contextlib.suppress(OSError):  # the server may have closed it
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._thread.join()
        close_response(self._connection, self._response)

    def _follow(self) -> None:
        """Read until the end, in the stream's thread."""
        end: Exception | None = None
        while end is None:
            drawn: list[Drawn] = []
            try:
                self._read(drawn)
            except (OSError, HTTPException, ValueError) as error:
                end = ServerLostError(f"the vLLM server broke off in an answer: {error!r}")
            except (_Over, RequestRefusedError, ServerLostError) as error:
                end = error
            with self._arrival:
                self._arrived.extend(drawn)
                self._end = end
                self._arrival.notify_all()

    def _read(self, drawn: list[Drawn]) -> None:
        """Read once, and append the tokens to `drawn`, also those before an end."""
        if self._response is None:
            self._response = self._connection.getresponse()
            if self._response.status != 200:
                self._refuse(self._response)
        received = self._response.read1(READ_BYTES)
        if not received:
            raise ServerLostError("the vLLM server ended an answer without saying so")
        *events, self._received = (self._received + received).split(b"\n\n")
        for event in events:
            drawn += self._drawn_in(event.removeprefix(b"data: "))

    def _drawn_in(self, event: bytes) -> list[Drawn]:
        if event == b"[DONE]":
            raise _Over
        fields = json.loads(event)
        if "error" in fields:
            raise ServerLostError(f"vLLM failed in an answer: {reason_of(event.decode(errors='replace'))}")
        return [drawn for choice in fields["choices"] for drawn in drawn_from(choice, self.sampling.logprobs)]

    def _refuse(self, response: HTTPResponse) -> None:
        if response.status in (BAD_REQUEST, UNPROCESSABLE):
            raise RequestRefusedError(str(response.status))
        reason = reason_of(response.read().decode(errors="replace"))
        # This includes 404: the server was restarted meanwhile and has lost its adapters.
        raise ServerLostError(f"the vLLM server answered {response.status}: {reason}")


def completion_body(
    model: str,
    prompt_ids: Sequence[int],
    sampling: SamplingParams,
    *,
    num_tokens_max: int,
    end_ids: Sequence[int],
    cache_salt: str,
) -> dict[str, object]:
    """The request for /v1/completions. Only requests with the same `cache_salt` reuse each other's prefixes.

    The position is added to the seed, so that a resumed answer does not repeat its first random numbers.
    """
    body: dict[str, object] = {
        "model": model,
        "prompt": list(prompt_ids),
        "max_tokens": num_tokens_max,
        "cache_salt": cache_salt,
        "stream": True,
        "return_token_ids": True,
        "stop_token_ids": list(end_ids),
        "seed": (sampling.seed + len(prompt_ids)) % 2**63,  # vLLM's seed is signed, and -1 means none
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "repetition_penalty": sampling.repetition_penalty,
    }
    if sampling.logprobs is not None:
        body |= {"logprobs": sampling.logprobs, "return_tokens_as_token_ids": True}
    if sampling.json_schema is not None:
        body["structured_outputs"] = {"json": sampling.json_schema}
    return body


def drawn_from(choice: dict[str, Any], num_top: int | None) -> list[Drawn]:
    """The tokens of one event, with the `num_top` likeliest beside each."""
    ids = choice.get("token_ids") or []
    chances = choice.get("logprobs")
    if num_top is None or chances is None:
        return [Drawn(token=token) for token in ids]
    return [
        Drawn(token=token, logprob=logprob, top=_top_from(top or {}, num_top))
        for token, logprob, top in zip(ids, chances["token_logprobs"], chances["top_logprobs"], strict=True)
    ]


def _top_from(named: dict[str, float], num_top: int) -> tuple[tuple[int, float], ...]:
    """The `num_top` likeliest tokens; vLLM also lists the drawn token, even if it is not one of them."""
    pairs = [(int(name.removeprefix(TOKEN_PREFIX)), logprob) for name, logprob in named.items()]
    return tuple(sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:num_top])
