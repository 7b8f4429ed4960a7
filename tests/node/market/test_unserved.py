"""Calls that were heard and not served: counted by caller, bounded, and strangers never displace proven callers."""

from dataclasses import replace

import pytest
from support.market_world.seller import seller_state
from support.market_world.terms import BASE, TERMS, peer_id_of, word
from support.offers import CALL

from openledger_node.market import unserved
from openledger_node.market.demand import HOUR_S
from openledger_node.market.offer import PricePolicy
from openledger_node.market.unserved import CALLERS_MAX, CALLS_PER_HOUR_MAX, KINDS_MAX, UnservedCalls, Winning
from openledger_node.p2p.transport import PeerId
from openledger_protocol import errors
from openledger_protocol.errors import PaymentRequiredError, ProtocolError, UnavailableError, UnknownModelError
from openledger_protocol.primitives import AdapterId, Digest, Wei
from openledger_protocol.wire.market import Call

STATE = seller_state("ada", PricePolicy(floor=TERMS))
CALLED = replace(CALL, base=BASE, adapter=AdapterId(word("lake")), price_in_max=Wei(3), price_out_max=Wei(4))
LACKING = UnknownModelError("it is not here")
BETTER = "another bid was better: 1 wei in, 2 out, first token in 40 ms, then 90 a second"


class Market:
    """Callers, of which those in `wallets` have proved something."""

    def __init__(self, **wallets: str) -> None:
        self.now_s = 100 * HOUR_S + 1.0
        proofs = {peer_id_of(name): wallet for name, wallet in wallets.items()}
        self.calls = UnservedCalls(lambda: self.now_s, proofs.get)

    def refuse(self, peer_id: PeerId, call: Call = CALLED, error: ProtocolError = LACKING) -> None:
        self.calls.note_refused(peer_id, call, error, STATE)


def test_a_kind_of_call_says_how_often_how_large_and_since_when() -> None:
    market = Market(ben="0xb", cleo="0xc")
    market.refuse(peer_id_of("ben"))
    market.now_s += 2 * HOUR_S
    market.refuse(peer_id_of("cleo"), replace(CALLED, tokens_in=900, tokens_max=8))
    market.refuse(peer_id_of("cleo"))
    (row,) = market.calls.day()
    assert (row.is_proven, row.calls, row.callers) == (True, 3, 2)
    assert (row.tokens_in_max, row.tokens_out_max) == (900, 64)
    assert (market.now_s - row.since_s, row.last_s) == (2 * HOUR_S, market.now_s)
    market.now_s += 24 * HOUR_S
    assert market.calls.day() == ()
    for is_ready in (True, False):
        state = replace(STATE, num_live=STATE.queue_max, is_ready=is_ready)
        market.calls.note_refused(peer_id_of("ben"), CALLED, UnavailableError("later"), state)
    assert [(row.kind.cause, row.calls) for row in market.calls.day()] == [("full", 1)], "a pause is no full queue"


@pytest.mark.parametrize(
    ("call", "error", "cause"),
    [
        (CALLED, LACKING, "lacking"),
        (replace(CALLED, base=Digest(word("gemma"))), LACKING, "base"),
        (CALLED, errors.RequestTooLongError("too long", num_prompt_tokens=9, context_max=8), "context"),
        (CALLED, PaymentRequiredError("too dear"), "dear"),
        (CALLED, errors.StaleError("too late"), None),
    ],
)
def test_a_refusal_has_one_cause_or_shows_no_demand(call: Call, error: ProtocolError, cause: str | None) -> None:
    market = Market()
    market.refuse(peer_id_of("ben"), call, error)
    assert [row.kind.cause for row in market.calls.day()] == ([cause] if cause else [])


def test_the_bid_that_would_have_won_is_the_median_of_those_that_did() -> None:
    market = Market()
    for price in (9, 1, 5):
        reason = BETTER.replace("1 wei in", f"{price} wei in")
        market.calls.note_lost(peer_id_of("ben"), CALLED, reason, was_cold=True)
    market.calls.note_lost(peer_id_of("ben"), CALLED, "the requester left without a word", was_cold=True)
    (row,) = market.calls.day()
    assert (row.kind.cause, row.calls, row.was_cold) == ("lost", 3, True)
    assert row.winning == Winning(price_wei=7, ttft_ms=40, tokens_per_s=90)
    market.refuse(peer_id_of("cleo"), error=PaymentRequiredError("too dear"))
    assert next(row.winning for row in market.calls.day() if row.kind.cause == "dear") == Winning(price_wei=7)


def test_one_caller_counts_only_so_often_and_wallets_not_peers_are_counted() -> None:
    market = Market(ben="0xb", ben2="0xb")
    for _ in range(10 * CALLS_PER_HOUR_MAX):
        market.refuse(peer_id_of("ben"))
        market.refuse(peer_id_of("ben2"))
    (row,) = market.calls.day()
    assert (row.calls, row.callers) == (CALLS_PER_HOUR_MAX, 1)


def test_spam_of_made_up_adapters_neither_fills_the_table_nor_hides_what_is_proven() -> None:
    market = Market(ben="0xb")
    market.refuse(peer_id_of("ben"))
    for number in range(3 * CALLERS_MAX):
        spammer = peer_id_of(f"spammer {number}")
        for other in range(KINDS_MAX + 3):
            market.refuse(spammer, replace(CALLED, adapter=AdapterId(word(f"nonsense {number} {other}"))))
    held = market.calls._callers
    assert len(held) == CALLERS_MAX
    assert all(len(caller.kinds) <= KINDS_MAX for caller in held.values())
    rows = market.calls.day()
    assert (rows[0].is_proven, rows[0].kind.adapter) == (True, CALLED.adapter)
    assert [row.is_proven for row in rows[1:]] == [False] * unserved.UNPROVEN_SHOWN_MAX


def test_strangers_and_proven_callers_are_never_added_up() -> None:
    market = Market(ben="0xb")
    for name in ("ben", "mallory", "mallet"):
        market.refuse(peer_id_of(name))
    assert [(row.is_proven, row.callers) for row in market.calls.day()] == [(True, 1), (False, 2)]
