"""One answer of llama-server: what is asked for, and what its events mean."""

import json
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPResponse
from typing import Any

from openledger_protocol.inference import SamplingParams

from ...engine.backend import Drawn
from ..served.client import ServerLostError, reason_of
from ..served.stream import AnswerOver, ServerStream

PATH = "/completion"
SEEDS = 2**32 - 1
"""llama.cpp's seeds have 32 bits, and the last one means a random seed."""

SAMPLERS = ("penalties", "temperature", "top_k", "min_p", "top_p")
"""In the order in which our own sampler applies them."""


class Stream(ServerStream):
    """A completion of llama-server, whose events have one token each.

    NOTE: llama-server holds back a token that ends within a character, and then sends only the one that completes it.
    The count of tokens in each event shows that some are missing. The stream ends there, and another takes over.
    """

    def __init__(self, *arguments: Any, on_close: Callable[[], None], **named: Any) -> None:
        """Start the answer as `ServerStream` does; `on_close` is called once, when the stream is closed."""
        self._on_close = on_close
        self._num_read = 0
        self.has_gap = False  # tokens are missing after the last one
        super().__init__(*arguments, **named)

    def close(self) -> None:
        """Close the connection, which makes llama-server stop, and free the slot."""
        super().close()
        self._on_close()

    def tokens_in(self, event: bytes, drawn: list[Drawn]) -> None:
        """Append the token of one event to `drawn`; the last event has `stop`."""
        if event.startswith(b":"):  # a sign of life while a prompt is read
            return
        content = event.removeprefix(b"data: ")
        fields = json.loads(content)
        if "error" in fields:
            reason = reason_of(content.decode(errors="replace"))
            raise ServerLostError(f"llama-server failed in an answer: {reason}")
        self._take(fields, drawn)
        if fields["stop"]:
            raise AnswerOver

    def _take(self, fields: dict[str, Any], drawn: list[Drawn]) -> None:
        found = drawn_from(fields, self.sampling.logprobs)
        if self._num_read + len(found) != fields["tokens_predicted"]:
            self.has_gap, self.is_barren = True, False
            raise AnswerOver
        self._num_read += len(found)
        drawn += found


class WholeAnswer(Stream):
    """A completion that llama-server sends in one piece, with all its tokens."""

    def _receive(self, response: HTTPResponse, drawn: list[Drawn]) -> None:
        self._take(json.loads(response.read()), drawn)
        raise AnswerOver


def completion_body(
    prompt_ids: Sequence[int],
    sampling: SamplingParams,
    *,
    num_tokens_max: int,
    slot: int,
    may_reuse: bool,
    adapters: Mapping[int, float],
    is_whole: bool,
    biases: Mapping[int, float] | None = None,
) -> dict[str, object]:
    """The request for /completion.

    `adapters`: the scale of each adapter by its number; all others are off. `biases` are added to the logits of these
    tokens. The position is added to the seed, so that a resumed answer does not repeat its first random numbers.
    """
    body: dict[str, object] = {
        "prompt": list(prompt_ids),
        "n_predict": num_tokens_max,
        "stream": not is_whole,
        "return_tokens": True,
        "response_fields": ["stop", "tokens", "tokens_predicted", "completion_probabilities"],
        "id_slot": slot,
        "cache_prompt": may_reuse,
        "lora": [{"id": number, "scale": scale} for number, scale in adapters.items()],
        "samplers": list(SAMPLERS),
        "seed": (sampling.seed + len(prompt_ids)) % SEEDS,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repetition_penalty,
        "repeat_last_n": len(prompt_ids) + num_tokens_max,  # all of the text
    }
    if sampling.logprobs is not None:
        body["n_probs"] = max(1, sampling.logprobs)  # 0 would mean no probabilities
    if biases:
        body["logit_bias"] = [[token, bias] for token, bias in biases.items()]
    return body


def drawn_from(fields: dict[str, Any], num_top: int | None) -> list[Drawn]:
    """The tokens of one event, with the `num_top` likeliest beside each."""
    chances = fields.get("completion_probabilities")
    if num_top is None or not chances:
        return [Drawn(token=token) for token in fields["tokens"]]
    return [
        Drawn(token=each["id"], logprob=each["logprob"], top=_top_from(each["top_logprobs"], num_top))
        for each in chances
    ]


def _top_from(listed: list[dict[str, Any]], num_top: int) -> tuple[tuple[int, float], ...]:
    pairs = [(each["id"], each["logprob"]) for each in listed]
    return tuple(sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:num_top])
