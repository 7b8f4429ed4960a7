"""One streamed answer of vLLM, which generates tokens by itself; steps read them when they need them."""

import json
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


class Stream:
    """A completion that runs on the server until its last token, or until it is closed."""

    def __init__(self, client: Client, *, prompt_ids: Sequence[int], sampling: SamplingParams, body: object) -> None:
        """Start the completion.

        Raises:
            ServerLostError: the server does not accept connections.
        """
        self.sampling = sampling
        self.position = len(prompt_ids)  # of the next token
        self.last: int | None = None  # the last token, once there is one
        self._connection: HTTPConnection = client.send("POST", "/v1/completions", body)
        self._response: HTTPResponse | None = None
        self._received = b""  # the start of an incomplete event
        self._drawn: deque[Drawn] = deque()  # at most the request's max_tokens
        self._is_over = False

    def next(self) -> Drawn | None:
        """Wait for the next token, or return None if the server has ended the answer.

        Raises:
            RequestRefusedError: the server refuses the request.
            ServerLostError: the connection broke.
        """
        while not self._drawn and not self._is_over:
            try:
                self._read()
            except (OSError, HTTPException) as error:
                raise ServerLostError(f"the vLLM server broke off in an answer: {error!r}") from error
        if not self._drawn:
            return None
        drawn = self._drawn.popleft()
        self.position += 1
        self.last = drawn.token
        return drawn

    def close(self) -> None:
        """Close the connection, which makes vLLM stop."""
        close_response(self._connection, self._response)

    def _read(self) -> None:
        if self._response is None:
            self._response = self._connection.getresponse()
            if self._response.status != 200:
                self._refuse(self._response)
        received = self._response.read1(READ_BYTES)
        if not received:
            raise ServerLostError("the vLLM server ended an answer without saying so")
        *events, self._received = (self._received + received).split(b"\n\n")
        for event in events:
            self._take(event.removeprefix(b"data: "))

    def _take(self, event: bytes) -> None:
        if event == b"[DONE]":
            self._is_over = True
            return
        fields = json.loads(event)
        if "error" in fields:
            raise ServerLostError(f"vLLM failed in an answer: {reason_of(event.decode(errors='replace'))}")
        for choice in fields["choices"]:
            self._drawn.extend(drawn_from(choice, self.sampling.logprobs))

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
