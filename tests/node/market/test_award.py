"""No claim of speed wins an award that measurements do not support, at any price."""

from dataclasses import replace
from fractions import Fraction
from itertools import permutations
from typing import Any

from support.market_world.terms import TERMS, priced, wallet_of
from support.offers import BID, CALL

from openledger_node.ledger.sellers import MEASURED_MAX, AnswerSpeed, SellerRecord
from openledger_node.market.calls import ReceivedBid
from openledger_node.market.ranking import bounds_for, estimate, rank_bids
from openledger_node.p2p.transport import PeerId
from openledger_protocol.auction import Speed
from openledger_protocol.primitives import Address, Wei
from openledger_protocol.wire.market import Call

CEILING = Wei(10**18)
OPEN_CALL = replace(CALL, price_in_max=CEILING, price_out_max=CEILING)


def speed(ttft_ms: int, tokens_per_s: int) -> Speed:
    return Speed(ttft_ms=Fraction(ttft_ms), tokens_per_s=Fraction(tokens_per_s))


def record(ttft_ms: int, tokens_per_s: int, answers: int = 1) -> SellerRecord:
    sample = AnswerSpeed(ttft_ms=ttft_ms, num_tokens=64, stream_ms=64_000 // tokens_per_s)
    found = SellerRecord()
    for _ in range(answers):
        found = found.after("successes", now_ns=0, sample=sample)
    return found


def received(name: str, *, wallet: str = "", times: float = 1, round_trip_ms: int = 0, **changes: Any) -> ReceivedBid:
    message = replace(BID, wallet=wallet_of(wallet or name), terms=priced(TERMS, times), **changes)
    return ReceivedBid(
        peer_id=PeerId(name),
        message=message,
        messages=None,  # type: ignore[arg-type]  # ranking sends nothing
        at_s=0,
        round_trip_ms=round_trip_ms,
    )


def best(call: Call, bids: list[ReceivedBid], records: dict[Address, SellerRecord] | None = None) -> str:
    unknown = {bid.message.wallet: SellerRecord() for bid in bids}
    return rank_bids(call, bids, {**unknown, **(records or {})})[0].peer_id


# ---- liars


def test_a_seller_that_is_slow_and_says_so_is_bought_from_where_its_price_makes_up_for_it() -> None:
    slow = received("slow", times=0.3, tokens_per_s=20)
    assert best(OPEN_CALL, [slow, received("fast")], {wallet_of("slow"): record(120, 20, 9)}) == "slow"


# ---- estimates


def test_a_claim_weighs_as_much_as_three_measured_answers() -> None:
    bounds = speed(0, 10**9)
    for answers in (1, 3, 9):
        found = estimate(speed(100, 40), record(400, 10, answers), bounds, 0)
        assert found.ttft_ms == Fraction(3 * 100 + answers * 400, 3 + answers)
        assert found.tokens_per_s == Fraction(3 * 40 + answers * 10, 3 + answers)


def test_a_claim_within_its_bounds_is_believed_of_a_newcomer_and_no_better_one() -> None:
    bounds = speed(100, 50)
    assert estimate(speed(150, 40), SellerRecord(), bounds, 0) == speed(150, 40)
    assert estimate(speed(1, 10**6), SellerRecord(), bounds, 0) == bounds


def test_a_seller_that_is_truly_faster_than_others_earns_its_speed() -> None:
    found = estimate(speed(10, 400), record(10, 400, MEASURED_MAX - 1), speed(100, 50), 0)
    assert found.tokens_per_s > 360
    assert found.ttft_ms < 20


def test_no_first_token_comes_before_two_round_trips() -> None:
    assert estimate(speed(1, 40), record(1, 40), speed(0, 40), 30).ttft_ms == 60
    near, far = received("near", ttft_ms=0, round_trip_ms=1), received("far", ttft_ms=0, round_trip_ms=900)
    assert best(OPEN_CALL, [far, near]) == "near"


def test_bounds_are_the_better_quartile_of_what_was_measured_at_others() -> None:
    records = {wallet_of(f"{number}"): record(100 * number, 10 * number) for number in (1, 2, 4, 5, 8)}
    own = {wallet_of("own"): record(900, 1), wallet_of("new"): SellerRecord()}
    found = bounds_for(wallet_of("own"), {}, {**records, **own})
    assert found == speed(200, 50)


def test_a_slow_seller_that_was_measured_first_does_not_hold_others_at_its_speed() -> None:
    claims = {wallet_of(name): speed(100, 40) for name in ("slow", "a", "b")}
    assert bounds_for(wallet_of("a"), claims, {wallet_of("slow"): record(10_000, 1)}) == speed(100, 40)


def test_a_claim_that_own_measurements_bear_out_is_not_bounded_by_a_slower_seller() -> None:
    records = {wallet_of("fast"): record(100, 40), wallet_of("slow"): record(10_000, 1)}
    claims = {wallet: speed(100, 40) for wallet in records}
    assert bounds_for(wallet_of("fast"), claims, records) == speed(100, 40)


def test_before_any_measurement_bounds_are_the_medians_of_the_claims() -> None:
    claims = {wallet_of("a"): speed(10, 900), wallet_of("b"): speed(100, 40), wallet_of("liar"): speed(0, 10**9)}
    assert bounds_for(wallet_of("liar"), claims, {}) == speed(10, 900)
    del claims[wallet_of("a")]
    assert bounds_for(wallet_of("liar"), claims, {}) == speed(100, 40)  # of two, the slower


def test_many_bids_of_one_wallet_move_the_medians_as_one() -> None:
    liars = [received(f"liar {n}", wallet="liar", times=2, ttft_ms=0, tokens_per_s=10**9) for n in range(7)]
    assert best(OPEN_CALL, [*liars, received("honest")]) == "honest"


def test_the_order_of_arrival_does_not_matter() -> None:
    bids = [received("a"), received("b", ttft_ms=0), received("c", wallet="a", tokens_per_s=90)]
    assert len({best(OPEN_CALL, list(order)) for order in permutations(bids)}) == 1
