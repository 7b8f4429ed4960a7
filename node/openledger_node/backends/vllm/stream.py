"""One streamed answer of vLLM: what is asked for, and what its events mean."""

import json
from collections.abc import Sequence
from typing import Any

from openledger_protocol.inference import SamplingParams

from ...engine.backend import Drawn
from ...engine.closed_schema import closed
from ..served.client import ServerLostError, reason_of
from ..served.stream import AnswerOver, ServerStream

PATH = "/v1/completions"
TOKEN_PREFIX = "token_id:"


class Stream(ServerStream):
    """A completion of vLLM."""

    def tokens_in(self, event: bytes, drawn: list[Drawn]) -> None:
        """Append the tokens of one event to `drawn`; the last event is `[DONE]`."""
        event = event.removeprefix(b"data: ")
        if event == b"[DONE]":
            raise AnswerOver
        fields = json.loads(event)
        if "error" in fields:
            raise ServerLostError(f"vLLM failed in an answer: {reason_of(event.decode(errors='replace'))}")
        for choice in fields["choices"]:
            drawn += drawn_from(choice, self.sampling.logprobs)


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
        body["structured_outputs"] = {"json": json.dumps(closed(json.loads(sampling.json_schema)))}
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
