"""What this node can say to a call: pure, from its state of the moment."""

from dataclasses import dataclass

from openledger_protocol.constants import PRICE_TOKENS
from openledger_protocol.errors import (
    OverloadedError,
    PaymentRequiredError,
    RequestTooLongError,
    UnavailableError,
    UnknownModelError,
)
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import Address, Digest
from openledger_protocol.wire.market import BidMessage, Call

from .pricing import PricePolicy, terms_asked

BID_VALID_S = 20.0
"""A bid stands for so long: enough for a channel to be opened by its payer, too short to wait for a price to rise."""

MS_MAX = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SellerState:
    """What this node is and does just now."""

    wallet: Address
    signer: Address
    base: Digest
    profile_hash: Digest
    algo_id: int
    chunk_tokens: int
    context_max: int
    policy: PricePolicy
    is_ready: bool  # the engine runs, and takes requests
    num_live: int  # requests that run or wait
    queue_max: int  # that may
    slots: int  # that run at once
    tokens_per_s: int  # measured: of one answer
    prefill_tokens_per_s: int  # measured: of prompts
    answer_ms: int  # measured: that a request holds a slot
    load_ms: int  # measured: that a cold adapter takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sellable:
    """An adapter that this node may sell."""

    index_root: Digest  # of its attribution index; zero without one
    is_warm: bool


def check_call(call: Call, state: SellerState) -> None:
    """Require that this node could take a call, whatever the adapter.

    Raises:
        UnavailableError: it is starting, paused or being stopped.
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
    """The bid for a call that can be taken.

    Raises:
        PaymentRequiredError: the call allows less than this node asks just now.
    """
    terms = terms_asked(state.policy, num_live=state.num_live, queue_max=state.queue_max, is_warm=sellable.is_warm)
    _check_price(call, terms)
    return BidMessage(
        id=call.id,
        wallet=state.wallet,
        signer=state.signer,
        terms=terms,
        profile_hash=state.profile_hash,
        algo_id=state.algo_id,
        index_root=sellable.index_root,
        chunk_tokens=state.chunk_tokens,
        context_max=state.context_max,
        queue=max(0, state.num_live - state.slots),
        is_warm=sellable.is_warm,
        ttft_ms=min(_ttft_ms(call, state, sellable), MS_MAX),
        tokens_per_s=max(1, state.tokens_per_s),
        valid_ms=int(BID_VALID_S * 1_000),
    )


def _check_price(call: Call, terms: Terms) -> None:
    if terms.price_in_wei > call.price_in_max or terms.price_out_wei > call.price_out_max:
        raise PaymentRequiredError(
            f"{PRICE_TOKENS} tokens cost {terms.price_in_wei} wei in and {terms.price_out_wei} wei out here, "
            f"and the call allows {call.price_in_max} and {call.price_out_max}"
        )


def _ttft_ms(call: Call, state: SellerState, sellable: Sellable) -> int:
    """To the first token: the wait for a slot, the adapter, the prompt."""
    waiting = max(0, state.num_live - state.slots + 1)
    wait_ms = waiting * state.answer_ms // max(1, state.slots)
    load_ms = 0 if sellable.is_warm else state.load_ms
    return wait_ms + load_ms + call.tokens_in * 1_000 // max(1, state.prefill_tokens_per_s)
