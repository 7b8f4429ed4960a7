"""Admission of requests: pure checks, each with its own refusal."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from openledger_protocol.errors import (
    AdapterRefusedError,
    MalformedError,
    OverloadedError,
    ProtocolError,
    RequestTooLongError,
    UnavailableError,
)
from openledger_protocol.inference import CALLS, SCHEMA, TOOLS, InferenceRequest, Message, SamplingParams, Tooling

from ..engine.backend import Profile
from ..engine.duty import LoadFailure
from ..engine.frames import Refused, Submit
from ..engine.tokenizer import Tokenizer
from ..engine.tool_grammar import grammar_of
from ..models.adapter_source import AdapterSource
from ..models.adapters import INDEX_FOLDER, Adapter

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Limits of the queue and the context, and the current load."""

    context_max: int  # tokens
    queue_max: int  # requests that run or wait
    num_live: int
    is_draining: bool


def grant_tokens(capacity: Capacity, *, num_prompt_tokens: int, max_tokens: int) -> int:
    """Admit a request and return the most tokens that its answer may have.

    `max_tokens` is a ceiling. If the prompt leaves less room, the answer gets the room that is left.

    Raises:
        UnavailableError: the node is shutting down.
        OverloadedError: the queue is full.
        RequestTooLongError: the prompt leaves no room for an answer.
        MalformedError: the prompt is empty.
    """
    check_place(capacity)
    if num_prompt_tokens == 0:
        raise MalformedError("the prompt is empty")
    check_room(num_prompt_tokens, capacity.context_max)
    return min(max_tokens, capacity.context_max - num_prompt_tokens)


def check_room(num_prompt_tokens: int, context_max: int | None) -> None:
    """Require that a prompt leaves room for an answer; None: the context is not known yet.

    Raises:
        RequestTooLongError: it leaves none.
    """
    if context_max is not None and num_prompt_tokens >= context_max:
        raise RequestTooLongError(
            f"the prompt has {num_prompt_tokens} tokens; with its answer it may have {context_max} here",
            num_prompt_tokens=num_prompt_tokens,
            context_max=context_max,
        )


def check_place(capacity: Capacity) -> None:
    """Require a free place in the queue.

    Raises:
        UnavailableError: the node is shutting down.
        OverloadedError: the queue is full.
    """
    if capacity.is_draining:
        raise UnavailableError("this node is stopping and takes no new requests")
    if capacity.num_live >= capacity.queue_max:
        raise OverloadedError(f"{capacity.num_live} requests wait or run here already: try again soon")


def render(
    tokenizer: Tokenizer,
    prompt: tuple[Message, ...] | str,
    prefix: str,
    tooling: Tooling | None = None,
    thinking: bool | None = None,
    *,
    tokens_max: int = 0,
) -> tuple[int, ...]:
    """Tokenise a prompt with its tools, followed by the `prefix` of its answer that another node delivered.

    Seller and payer both count with these ids. Prompt and prefix are tokenised apart, so a prefix never
    changes the prompt's ids.

    Raises:
        RequestTooLongError: its bytes alone are too many for `tokens_max`; 0 is no limit.
    """
    prompt_ids = tokenizer.render(prompt, tooling, thinking, tokens_max=tokens_max)
    return prompt_ids + tokenizer.encode(prefix) if prefix else prompt_ids


def prompt_ids_of(tokenizer: Tokenizer, request: InferenceRequest, tokens_max: int = 0) -> tuple[int, ...]:
    """The canonical ids of a request's prompt, or those that it came with.

    Raises:
        RequestTooLongError: its bytes alone are too many for `tokens_max`; 0 is no limit.
    """
    return request.prompt_ids or render(
        tokenizer, request.prompt, request.prefix, request.tooling, request.thinking, tokens_max=tokens_max
    )


def check_known(ids: Sequence[int], vocab_size: int) -> None:
    """Require that a prompt's ids are tokens of the base.

    Raises:
        MalformedError: one is not.
    """
    if ids and max(ids) >= vocab_size:
        raise MalformedError(
            f"prompt has the token id {max(ids)}, and the base has {vocab_size} tokens", param="prompt"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request as the engine takes it."""

    prompt_ids: tuple[int, ...]
    num_prefix: int  # of `prompt_ids`, at their end: what another node delivered of the answer
    grammar: str  # see `Submit.grammar`


def prepare(
    tokenizer: Tokenizer, profile: Profile | None, request: InferenceRequest, tokens_max: int = 0
) -> Prepared:
    """Tokenise a request, and make the grammar that its answer must fit.

    Raises:
        MalformedError: the base's chat template refuses it, or this backend can't follow the grammar.
        RequestTooLongError: its bytes alone are too many for `tokens_max`; 0 is no limit.
    """
    prompt_ids = prompt_ids_of(tokenizer, request, tokens_max)
    if profile:
        check_known(request.prompt_ids, profile.vocab_size)
    num_prefix = len(tokenizer.encode(request.prefix)) if request.prefix else 0
    grammar = grammar_of(request, tokenizer.style.with_thinking(request.thinking), tokenizer.added_id)
    if profile and profile.draws_elsewhere:
        _check_followed(profile, request, grammar, num_prefix)
        grammar = ""
    return Prepared(prompt_ids=prompt_ids, num_prefix=num_prefix, grammar=grammar)


def abilities_of(profile: Profile | None) -> tuple[str, ...]:
    """The abilities of a backend, as its node's bids name them."""
    if profile is None:
        return ()
    return (TOOLS, SCHEMA) if profile.draws_elsewhere else (TOOLS, CALLS, SCHEMA)


def _check_followed(profile: Profile, request: InferenceRequest, grammar: str, num_prefix: int) -> None:
    """Require that a backend which draws tokens on its own need follow no grammar of ours.

    Raises:
        MalformedError: it would have to.
    """
    if grammar and request.tooling:
        raise MalformedError(
            f"backend {profile.backend} can't force a tool call: set tool_choice to auto, without a response_format",
            param="tool_choice",
        )
    if num_prefix and request.sampling.json_schema is not None:
        raise MalformedError(f"backend {profile.backend} can't resume an answer with a JSON schema: send it again")


# ---- A request that was let in.


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """An admitted request: its canonical prompt tokens and the adapter it runs on."""

    request: InferenceRequest
    prompt_ids: tuple[int, ...]
    adapter: Adapter | None
    payer: str = ""  # the engine serves payers in turn; empty: this machine's own requests
    num_allowed: int | None = None  # tokens of the answer that may be computed before `Serving.allow`; None: all
    num_prefix: int = 0
    grammar: str = ""
    needs_signals: bool = False  # its receipt is divided by a rule that reads the adapter's activations

    @property
    def source(self) -> AdapterSource | None:
        """The adapter that runs on top of the base."""
        return AdapterSource(id=self.adapter.id, folder=str(self.adapter.folder)) if self.adapter else None

    @property
    def order(self) -> Submit:
        """The engine's command for it."""
        return Submit(
            sequence_id=self.request.request_id,
            prompt_ids=self.prompt_ids,
            sampling=self.request.sampling,
            adapter=self.source,
            payer=self.payer,
            num_allowed=self.num_allowed,
            scores_prompt=self.request.scores_prompt,
            ignores_end=self.request.ignores_end,
            grammar=self.grammar,
            num_prefix=self.num_prefix,
            signals_folder=str(self.adapter.folder / INDEX_FOLDER) if self.adapter and self.needs_signals else "",
        )

    def replay(self, ids: tuple[int, ...]) -> Submit:
        """The engine's command that computes the signals of an answer of these tokens once more."""
        return replace(
            self.order,
            sequence_id=f"{self.request.request_id}/signals",
            sampling=SamplingParams(max_tokens=len(ids), seed=0, temperature=0.0),
            num_allowed=None,
            grammar="",
            replayed_ids=ids,
        )


# ---- A request for other nodes.


def check_for_sale(request: InferenceRequest) -> None:
    """Require that a request can be sold by other nodes.

    Raises:
        MalformedError: it uses a feature that only this machine's own engine provides.
    """
    if request.thinking is not None:
        raise MalformedError(
            "reasoning is turned on or off by this machine's own engine only, and this model is not on it",
            param="reasoning_effort",
        )
    if request.sampling.logprobs is not None:  # before the ids, which `echo` with logprobs puts into a request
        raise MalformedError(
            "logprobs are given by this machine's own engine only, and this model is not on it", param="logprobs"
        )
    if request.ignores_end:
        raise MalformedError(
            "only this machine's own engine goes on after the end of an answer, and this model is not on it: "
            "leave out ignore_eos",
            param="ignore_eos",
        )
    if request.prompt_ids:
        raise MalformedError(
            "a prompt of token ids is for models on this machine: send this one as text", param="prompt"
        )


# ---- A request that the engine refused.

STRANGERS_ARE_TOLD = {
    AdapterRefusedError.code: "this node can't serve that adapter: send the request to another node",
    UnavailableError.code: "this node can't answer just now: send the request to another node",
    RequestTooLongError.code: "the request may need more memory than this node has for one: ask for a shorter answer",
}
"""Replaces the engine's reasons of these codes, which name folders and settings of the operator."""


def why_refused(refused: Refused, *, for_payer: bool) -> ProtocolError:
    """The error for the requester of a sequence that the engine refused."""
    if for_payer and refused.code in STRANGERS_ARE_TOLD:
        log.warning("the engine refused a request: %s", refused.message)
        refused = replace(refused, message=STRANGERS_ARE_TOLD[refused.code])
    known = (AdapterRefusedError, MalformedError, RequestTooLongError, UnavailableError)
    return next(cls for cls in known if cls.code == refused.code)(refused.message)


# ---- An engine that is not loaded.


def check_tried_again(failure: LoadFailure, load: Callable[[], None], *, is_known: bool, for_payer: bool) -> None:
    """Have an engine that could not be loaded tried again for a request of this machine, which may wait for it.

    `is_known`: it was loaded before, so that its context is known and a request can be admitted.

    Raises:
        UnavailableError: the request need not wait. A payer is told at once, because other nodes can answer.
    """
    if for_payer:
        raise UnavailableError(STRANGERS_ARE_TOLD[UnavailableError.code])
    if not (failure.can_recover and is_known):
        load()
        raise UnavailableError(failure.why)


def loading_sentence(ready_in_s: float) -> str:
    """The progress of a load by the time that the last one took; 0: unknown, or it takes longer this time."""
    left = f", about {ready_in_s:.0f} s left" if ready_in_s >= 1 else ""
    return f"the engine is loading the base{left}"
