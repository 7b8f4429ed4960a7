"""This node's answer to a call: pure, from its current state."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from statistics import median

from openledger_protocol.auction import CEILING_MEDIANS
from openledger_protocol.constants import PRICE_TOKENS
from openledger_protocol.errors import (
    OverloadedError,
    PaymentRequiredError,
    RequestTooLongError,
    UnavailableError,
    UnknownModelError,
)
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import UINT128_MAX, ZERO_DIGEST, Address, Digest, Generation, Wei
from openledger_protocol.rules import TEXT_RULE
from openledger_protocol.wire.market import BidMessage, Call

from ..ledger.jobs import Job

# ---- Prices: the operator's minimum, and surcharges while the node is busy or must load the adapter first.

PERCENT = 100

SURCHARGE_PERCENT_MAX = PERCENT * (CEILING_MEDIANS - 1)
"""A call allows a seller that is alone on the market this much more than its floor. A higher surcharge is lowered to
this where the call allows no more, or a busy seller would refuse all requests that nobody else answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePolicy:
    """The operator's price settings."""

    floor: Terms
    load_percent: int = 0  # surcharge when the queue is full, in proportion below that
    cold_percent: int = 0  # surcharge when the adapter is not in memory


def terms_asked(
    policy: PricePolicy, *, num_live: int, queue_max: int, is_warm: bool, percent_max: int | None = None
) -> Terms:
    """The terms of a bid, rounded up, so never below the minimum; `percent_max` limits the surcharge."""
    busy = min(num_live, queue_max)
    # The surcharge in parts of `PERCENT * queue_max`, so that no fraction is lost before the end.
    parts = policy.load_percent * busy + (0 if is_warm else policy.cold_percent * queue_max)
    if percent_max is not None:
        parts = min(parts, percent_max * queue_max)
    return Terms(
        price_in_wei=_raised(policy.floor.price_in_wei, parts, PERCENT * queue_max),
        price_out_wei=_raised(policy.floor.price_out_wei, parts, PERCENT * queue_max),
    )


def terms_asked_max(policy: PricePolicy) -> Terms:
    """The most that a bid may ask: at a full queue, for an adapter that must be loaded first."""
    return terms_asked(policy, num_live=1, queue_max=1, is_warm=False)


def _raised(price: Wei, parts: int, whole: int) -> Wei:
    return Wei(min(price - (-price * parts // whole), UINT128_MAX))


# ---- offer

BID_VALID_S = 20.0
"""The validity of a bid: long enough for its payer to open a channel, too short to speculate on rising prices."""

MS_MAX = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SellerState:
    """This node's current state as a seller."""

    wallet: Address
    signer: Address
    generation: Generation  # of this node's ledger
    base: Digest
    profile_hash: Digest
    algo_id: int  # the attribution rule that it runs for any adapter
    chunk_tokens: int
    context_max: int
    policy: PricePolicy
    is_ready: bool  # the engine answers requests, maybe after a reload
    num_live: int  # requests that run or wait
    queue_max: int  # allowed to run or wait
    slots: int  # requests that run at once
    tokens_per_s: int  # measured, of one answer
    prefill_tokens_per_s: int  # measured, of prompts
    answer_ms: int  # measured: time that a request holds a slot
    load_ms: int  # measured: time to load a cold adapter
    reload_ms: int = 0  # measured at the last load: time until the engine is loaded; 0: it is
    can: tuple[str, ...] = ()  # abilities of this node's backend
    template: Digest = ZERO_DIGEST  # see `Tokenizer.template_digest`
    tokenizer: Digest = ZERO_DIGEST  # see `Tokenizer.digest`
    rules: tuple[int, ...] = ()  # attribution rules that the backend can run beside `algo_id`


@dataclass(frozen=True, slots=True, kw_only=True)
class Sellable:
    """An adapter that this node may sell."""

    index_root: Digest  # of its attribution index; zero without one
    is_warm: bool
    algo_id: int = TEXT_RULE  # the attribution rule of its receipts


def check_call(call: Call, state: SellerState) -> None:
    """Require that this node could take a call, for any adapter.

    Raises:
        UnavailableError: it is starting, paused or shutting down.
        UnknownModelError: it serves another base.
        OverloadedError: its queue is full.
        RequestTooLongError: the context is too short.
    """
    if not state.is_ready:
        raise UnavailableError("this node takes no requests just now")
    if call.base != state.base:
        raise UnknownModelError(f"base {call.base} is not served here, {state.base} is")
    if state.num_live >= state.queue_max:
        raise OverloadedError(f"{state.num_live} requests wait or run here already: try again soon")
    needed = call.tokens_in + call.tokens_max
    if needed > state.context_max:
        raise RequestTooLongError(
            f"prompt and answer need {needed} tokens; they may have {state.context_max} here",
            num_prompt_tokens=call.tokens_in,
            context_max=state.context_max,
        )


def make_bid(call: Call, state: SellerState, sellable: Sellable) -> BidMessage:
    """Make the bid for a call that passed `check_call`.

    Raises:
        PaymentRequiredError: the call allows less than this node asks now.
    """
    ask = partial(
        terms_asked, state.policy, num_live=state.num_live, queue_max=state.queue_max, is_warm=sellable.is_warm
    )
    terms = ask()
    if not _allows(call, terms):
        terms = ask(percent_max=SURCHARGE_PERCENT_MAX)
    if not _allows(call, terms):
        raise PaymentRequiredError(
            f"{PRICE_TOKENS} tokens cost {terms.price_in_wei} wei in and {terms.price_out_wei} wei out here, "
            f"and the call allows {call.price_in_max} and {call.price_out_max}"
        )
    return BidMessage(
        id=call.id,
        wallet=state.wallet,
        signer=state.signer,
        generation=state.generation,
        terms=terms,
        profile_hash=state.profile_hash,
        algo_id=sellable.algo_id,
        index_root=sellable.index_root,
        chunk_tokens=state.chunk_tokens,
        context_max=state.context_max,
        queue=max(0, state.num_live - state.slots),
        is_warm=sellable.is_warm,
        ttft_ms=min(_ttft_ms(call, state, sellable), MS_MAX),
        tokens_per_s=max(1, state.tokens_per_s),
        valid_ms=int(BID_VALID_S * 1_000),
        can=state.can,
        template=state.template,
        tokenizer=state.tokenizer,
    )


def _allows(call: Call, terms: Terms) -> bool:
    return terms.price_in_wei <= call.price_in_max and terms.price_out_wei <= call.price_out_max


def _ttft_ms(call: Call, state: SellerState, sellable: Sellable) -> int:
    """Time to the first token: loading the engine, waiting for a slot, loading the adapter, and prefill."""
    waiting = max(0, state.num_live - state.slots + 1)
    wait_ms = waiting * state.answer_ms // max(1, state.slots)
    load_ms = 0 if sellable.is_warm else state.load_ms
    return state.reload_ms + wait_ms + load_ms + call.tokens_in * 1_000 // max(1, state.prefill_tokens_per_s)


# ---- Speed of this node, measured on its newest answers: pure, from job rows.

NEWEST = 32
"""Answers measured: enough for steady figures, few enough to follow changes of the machine."""

TOKENS_MIN = 4
"""Shorter answers are too short to measure a rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """Medians, and for loads what 95 % of them stay within: a bid promises it for the next one.

    The defaults are those of a small model on a CPU, used until there are answers and loads. A first load takes
    longer than later ones, since the adapter is also read from a cold disk and probed.
    """

    tokens_per_s: int = 20
    prefill_tokens_per_s: int = 200
    answer_ms: int = 3_000
    load_ms: int = 2_000


def speeds_of(jobs: Sequence[Job], *, load_ms: float) -> Speeds:
    """Measure speeds from finished jobs. `load_ms` is what 95 % of the adapters' loads took at most; 0: none yet."""
    usual = replace(Speeds(), load_ms=ceil(load_ms)) if load_ms > 0 else Speeds()
    done = [job for job in jobs if job.first_token_ns and job.ended_ns and (job.tokens_out or 0) >= TOKENS_MIN]
    if not done:
        return usual
    return Speeds(
        tokens_per_s=_median([_rate(job.tokens_out or 0, job.ended_ns, job.first_token_ns) for job in done]),
        prefill_tokens_per_s=_median([_rate(job.tokens_in, job.first_token_ns, job.received_ns) for job in done]),
        answer_ms=_median([(job.ended_ns or 0) - job.received_ns for job in done]) // 10**6 or 1,
        load_ms=usual.load_ms,
    )


def _median(values: Sequence[float]) -> int:
    return max(1, int(median(values)))


def _rate(tokens: int, ended_ns: int | None, began_ns: int | None) -> float:
    return tokens * 1e9 / max(1, (ended_ns or 0) - (began_ns or 0))
