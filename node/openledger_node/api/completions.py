"""`/v1/completions`: raw texts or token ids in, their continuations out, whole or as events.

Evaluation harnesses score answers here: with `echo` and `logprobs`, the probabilities of the prompt's own tokens come
before those of the answer.
"""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import trio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from openledger_protocol.errors import MalformedError, ProtocolError
from openledger_protocol.inference import InferenceRequest, SamplingParams, TokenLogprob
from openledger_protocol.primitives import RequestId, check_text

from ..market.router import Router
from ..models.sampling_defaults import SamplingDefaults
from ..serving.admission import check_room
from ..serving.answer_parts import Part, TextPart
from . import openai
from .exchange import Answered, AnswerExchange, begin_all, collect_all, open_exchanges
from .logprobs import Spell, completion_writer
from .openai import MARK, WriteLogprobs, head
from .request_fields import request_from_fields, requests_of
from .schemas import TOKEN_IDS_END, CompletionBody
from .stream import AnswerStream, event

KIND = "text_completion"

CHOICES_MAX = 128
"""The most answers to one request, over all its prompts; each is a request of its own, with a place in the queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """The prompt of a choice, which comes before its answer."""

    text: str = ""
    ids: tuple[int, ...] = ()  # of a prompt whose tokens' probabilities are listed
    is_all: bool = False  # the choice ends with the prompt


NO_ECHO = Echo()


def add_completions(app: FastAPI, router: Router, nursery: trio.Nursery, responses: Any) -> None:
    """Add the route; requests run in `nursery`."""

    @app.post("/v1/completions", response_model=None, responses=responses)
    async def complete(body: CompletionBody, http: Request) -> Response:
        """Continue a text, or several."""
        requests = requests_from_completion(body, seed=secrets.randbits(64), defaults=router.sampling_defaults)
        echoes = [NO_ECHO] * len(requests)
        if body.echo:
            requests, echoes = await with_echo(router, body, requests)
        created_s = int(time.time())
        exchanges = await open_exchanges(router, nursery, requests)
        pairs = list(zip(exchanges, echoes, strict=True))
        write = [completion_writer(router.spell, one.request, echo.ids, is_all=echo.is_all) for one, echo in pairs]
        if not body.stream:
            answers = await collect_all(http, exchanges)
            whole = completion_response(requests, answers, write, echoes, created_s=created_s)
            return JSONResponse(whole)
        await begin_all(http, exchanges)
        answered = partial(CompletionWriter, created_s=created_s, request_id=requests[0].request_id)
        writers = [answered(one, write[index], index=index, echo=echo) for index, (one, echo) in enumerate(pairs)]
        ending = partial(completion_ending, exchanges, created_s=created_s, has_usage=body.has_usage)
        return AnswerStream(list(zip(exchanges, writers, strict=True)), ending)


# ---- The requests.


def requests_from_completion(
    body: CompletionBody, *, seed: int, defaults: SamplingDefaults
) -> list[InferenceRequest]:
    """Read the requests of a body: `n` for each of its prompts, in their order.

    `seed` and `defaults` apply where the body has nothing. Scores of a prompt take no penalties, so a base's is left
    out there.

    Raises:
        MalformedError: a field is out of bounds, or not served.
    """
    if body.is_only_echo:
        body = body.model_copy(update={"max_tokens": 1, "max_completion_tokens": None})
    if body.echo and body.num_logprobs is not None:
        defaults = replace(defaults, repetition_penalty=1.0)
    prompts = prompts_of(body.prompt)
    if not 1 <= len(prompts) * (body.n or 1) <= CHOICES_MAX:
        raise MalformedError(
            f"a request takes 1 to {CHOICES_MAX} answers over all its prompts, and this one has "
            f"{len(prompts) * (body.n or 1)}: split it",
            param="prompt",
        )
    found = []
    for prompt in prompts:
        text, ids = (check_text(prompt), ()) if isinstance(prompt, str) else ("", prompt)
        request = request_from_fields(
            body, text, seed=seed, defaults=defaults, num_logprobs=body.num_logprobs, prompt_ids=ids
        )
        found += requests_of(request, body.n)
    return found


def prompts_of(prompt: str | list[Any], *, name: str = "prompt") -> list[str | tuple[int, ...]]:
    """Each prompt as a text or as token ids; all are of the form that the first one has. `name` is the field's.

    Raises:
        MalformedError: it names the first item that is wrong.
    """
    if isinstance(prompt, str):
        return [prompt]
    match prompt[:1]:
        case [str()]:
            wrong = (index for index, each in enumerate(prompt) if not isinstance(each, str))
            if (index := next(wrong, None)) is not None:
                raise _wrong_item(f"{name}[{index}]", "must be a string, as the first one is")
            return list(prompt)
        case [list()]:
            return [_token_ids(each, f"{name}[{index}]") for index, each in enumerate(prompt)]
        case [int()]:
            return [_token_ids(prompt, name)]
        case [_]:
            raise _wrong_item(f"{name}[0]", "must be a string, a token id or a list of token ids")
    return []


def _token_ids(ids: object, name: str) -> tuple[int, ...]:
    if not isinstance(ids, list):
        raise _wrong_item(name, "must be a list of token ids, as the first one is")
    if not ids:
        field = name.partition("[")[0]
        raise MalformedError(f"{field} has a list of token ids that is empty", param=field)
    for index, each in enumerate(ids):
        if type(each) is not int or not 0 <= each < TOKEN_IDS_END:
            raise _wrong_item(f"{name}[{index}]", f"must be a token id, a whole number from 0 to {TOKEN_IDS_END - 1}")
    return tuple(ids)


def _wrong_item(name: str, rule: str) -> MalformedError:
    return MalformedError(f"{name} {rule}", param=name)


async def with_echo(
    router: Router, body: CompletionBody, requests: Sequence[InferenceRequest]
) -> tuple[list[InferenceRequest], list[Echo]]:
    """Prepare requests whose answers repeat the prompt, with its probabilities if they are requested.

    A prompt is prepared once for all its answers, and only if it may fit, since no place is taken for it yet.

    Raises:
        MalformedError: probabilities with penalties, which would change them.
        RequestTooLongError: a prompt leaves no room for an answer.
        UnknownModelError: neither this machine nor the network has the model.
    """
    scores = body.num_logprobs is not None
    context_max = (await router.find_model(requests[0].model)).context_max
    found: dict[object, Echo] = {}
    prepared, echoes = [], []
    for request in requests:
        prompt = (request.prompt, request.prompt_ids)
        if prompt not in found:
            found[prompt] = await _echo(router, request, context_max, scores=scores, is_all=body.is_only_echo)
        echo = found[prompt]
        prepared.append(replace(request, prompt="", prompt_ids=echo.ids, scores_prompt=True) if scores else request)
        echoes.append(echo)
    return prepared, echoes


async def _echo(
    router: Router, request: InferenceRequest, context_max: int | None, *, scores: bool, is_all: bool
) -> Echo:
    """The prompt of one request as its answers repeat it."""
    if scores:
        _check_plain(request.sampling)
    check_room(len(request.prompt_ids), context_max)
    ids = await router.prompt_ids(request) if scores else request.prompt_ids
    check_room(len(ids), context_max)
    text = request.prompt or await trio.to_thread.run_sync(spelled, router.spell, ids)
    return Echo(text=str(text), ids=ids if scores else (), is_all=is_all)


def _check_plain(sampling: SamplingParams) -> None:
    penalties = (sampling.frequency_penalty, sampling.presence_penalty, sampling.repetition_penalty - 1)
    if any(penalties):
        raise MalformedError("echo with logprobs takes no penalties: leave them out", param="echo")


def spelled(spell: Spell, ids: Sequence[int]) -> str:
    """The text of token ids, with the names of special tokens."""
    pieces = ((name, piece) for name, piece in map(spell, ids))
    return b"".join(name.encode() if piece is None else piece for name, piece in pieces).decode(errors="replace")


# ---- The answers.


def completion_response(
    requests: Sequence[InferenceRequest],
    answers: Sequence[Answered],
    write_logprobs: Sequence[WriteLogprobs],
    echoes: Sequence[Echo],
    *,
    created_s: int,
) -> dict[str, Any]:
    """The answers as a `text_completion`, each a choice."""
    choices = [
        {
            "index": index,
            "text": echo.text if echo.is_all else echo.text + answered.completion.text,
            "logprobs": write(answered.logprobs),
            "finish_reason": answered.finish_reason,
        }
        for index, (answered, write, echo) in enumerate(zip(answers, write_logprobs, echoes, strict=True))
    ]
    counted = openai.usage([answered.completion for answered in answers], [answered.cost_wei for answered in answers])
    return {**head(requests[0], KIND, created_s), "choices": choices, "usage": counted}


class CompletionWriter:
    """Writes one choice of a streamed completion."""

    def __init__(
        self,
        exchange: AnswerExchange,
        write_logprobs: WriteLogprobs,
        *,
        created_s: int,
        index: int = 0,
        request_id: RequestId | None = None,
        echo: Echo = NO_ECHO,
    ) -> None:
        self._exchange = exchange
        self._echo = echo
        self._pending = echo.text  # still to be sent
        self._write_logprobs = write_logprobs
        self._head = head(exchange.request, KIND, created_s, request_id=request_id)
        self._index = index
        self._render = openai.renderer(self._event(MARK))

    def begin(self) -> bytes:
        """The prompt, unless it comes with its probabilities."""
        if not self._pending or self._echo.ids:
            return b""
        return self._render(self._take_pending())

    def write(self, parts: Sequence[Part], logprobs: Sequence[TokenLogprob]) -> bytes:
        """One event per piece of text; the first has the probabilities."""
        texts = [] if self._echo.is_all else [part.text for part in parts if isinstance(part, TextPart)]
        if not logprobs:
            return b"".join(map(self._render, texts))
        text = self._take_pending() + "".join(texts)
        written = self._write_logprobs(logprobs)
        return self._event(text, logprobs=written) if text or (written and written["tokens"]) else b""

    def end(self) -> bytes:
        """The reason of the end."""
        return self._event("", finish_reason=self._exchange.finish_reason)

    def fail(self, error: ProtocolError) -> bytes:
        """The refusal."""
        return event(openai.error_body(error))

    def _take_pending(self) -> str:
        text, self._pending = self._pending, ""
        return text

    def _event(self, text: str, *, logprobs: Any = None, finish_reason: str | None = None) -> bytes:
        choice = {"index": self._index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}
        return event({**self._head, "choices": [choice]})


def completion_ending(exchanges: Sequence[AnswerExchange], *, created_s: int, has_usage: bool) -> bytes:
    """The events after the last choice: the usage, for clients that request it, and the end."""
    if not has_usage:
        return openai.DONE
    counted = openai.usage(
        [exchange.completion for exchange in exchanges if exchange.completion],
        [exchange.cost_wei for exchange in exchanges],
    )
    return event({**head(exchanges[0].request, KIND, created_s), "choices": [], "usage": counted}) + openai.DONE
