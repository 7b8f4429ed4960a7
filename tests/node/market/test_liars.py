"""A market of honest sellers and liars over many calls: how often a liar wins, and what it costs the buyer."""

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cache
from statistics import mean

import pytest
from support.market_world.seller import ad_of
from support.market_world.terms import TERMS, priced, word
from support.offers import CALL

from openledger_node.ledger.sellers import AnswerSpeed, Outcome, SellerRecord
from openledger_node.market.attempt import FAILED_FACTOR, LATE_FACTOR, LATE_SLACK_S
from openledger_node.market.calls import FIRST_WAVE, ReceivedBid
from openledger_node.market.candidates import Wanted, candidates, explorer
from openledger_node.market.ranking import bid_of, rank_bids
from openledger_protocol.advertisement import Advertisement
from openledger_protocol.auction import NEWCOMER_ANSWERS, price_ceiling, why_not
from openledger_protocol.primitives import BASE_ONLY, Address, RequestId, Wei
from openledger_protocol.wire.market import Call

from .conftest import received_bid

NUM_HONEST, NUM_LIARS, NUM_CALLS, NUM_ASKED = 16, 4, 200, 8
AD = ad_of("seller")


@cache
def wallet(name: str) -> Address:
    return Address("0x" + word(name)[-40:])


@dataclass(kw_only=True)
class Seller:
    """A seller with its true price and speed. A liar claims another speed, and may advertise another price."""

    name: str
    times: float  # the usual price
    tokens_per_s: int
    ttft_ms: int
    is_liar: bool = False
    floor: float | None = None  # of its advertisement, in times the usual price
    new_wallet_every: int = 0  # answers
    dear_after: int = 0  # answers at a third of its price
    num_answers: int = 0
    record: SellerRecord = field(default_factory=SellerRecord)

    @property
    def id(self) -> str:
        generation = self.num_answers // self.new_wallet_every if self.new_wallet_every else 0
        return f"{self.name} {generation}"

    @property
    def asked(self) -> float:
        return self.times / 3 if self.num_answers < self.dear_after else self.times

    def ad(self) -> Advertisement:
        terms = priced(TERMS, self.asked if self.floor is None else self.floor)
        return replace(AD, peer_id=self.id, wallet=wallet(self.id), terms=terms)

    def bid(self, id: RequestId) -> ReceivedBid:
        ttft_ms, tokens_per_s = (0, 2**32 - 1) if self.is_liar else (self.ttft_ms, self.tokens_per_s)
        return received_bid(
            self.id,
            wallet=wallet(self.id),
            times=self.asked,
            round_trip_ms=20,
            id=id,
            ttft_ms=ttft_ms,
            tokens_per_s=tokens_per_s,
            context_max=2**20,
        )

    def answer(self, num_tokens: int, draw: random.Random) -> float:
        """Answer, be judged as an attempt is, and return the time that it took."""
        before = self.id
        took_s = self.ttft_ms / 1_000 + num_tokens / self.tokens_per_s
        promised_s = num_tokens / 2**32 if self.is_liar else took_s
        outcome: Outcome = "successes"
        if draw.random() < 0.01 or took_s - LATE_SLACK_S > FAILED_FACTOR * promised_s:
            outcome = "failures"
        elif took_s - LATE_SLACK_S > LATE_FACTOR * promised_s:
            outcome = "late"
        stream_ms = 1_000 * num_tokens // self.tokens_per_s
        sample = AnswerSpeed(ttft_ms=self.ttft_ms, num_tokens=num_tokens, stream_ms=stream_ms)
        self.record = self.record.after(outcome, now_ns=0, sample=sample)
        self.num_answers += 1
        if self.id != before:
            self.record = SellerRecord()
        return took_s


@dataclass(kw_only=True)
class Run:
    """The winners, prices and times of a run."""

    won: Counter[str] = field(default_factory=Counter)
    paid: list[float] = field(default_factory=list)  # for a token, in times the usual price
    took_s: list[float] = field(default_factory=list)

    def part_of(self, prefix: str) -> float:
        return sum(count for name, count in self.won.items() if name.startswith(prefix)) / self.won.total()


def is_good(call: Call, received: ReceivedBid, records: dict[Address, SellerRecord]) -> bool:
    record = records[received.message.wallet]
    return record.num_measured >= NEWCOMER_ANSWERS and why_not(call, bid_of(received, record)) is None


def run(sellers: list[Seller]) -> Run:
    """Call and award as a requester does; the winner answers."""
    draw, found = random.Random(1), Run()
    for number in range(NUM_CALLS):
        id, num_tokens = RequestId(word(f"1 {number}")), draw.randint(50, 400)
        by_id = {seller.id: seller for seller in sellers}
        ads = [seller.ad() for seller in sellers]
        records = {wallet(seller.id): seller.record for seller in sellers}
        wanted = Wanted(id=id, adapter=BASE_ONLY, tokens_in=0, tokens_max=num_tokens)
        asked = candidates(ads, records, wanted)[:NUM_ASKED]
        limit = price_ceiling([(ad.terms, Wei(1)) for ad in ads])
        call = replace(
            CALL,
            id=id,
            tokens_in=0,
            tokens_max=num_tokens,
            price_in_max=limit.price_in_wei,
            price_out_max=limit.price_out_wei,
        )
        bids = [by_id[ad.peer_id].bid(id) for ad in asked[:FIRST_WAVE]]
        if not any(is_good(call, bid, records) for bid in bids):
            bids += [by_id[ad.peer_id].bid(id) for ad in asked[FIRST_WAVE:]]
        winner = by_id[rank_bids(call, bids, records, explorer(ads, records, wanted))[0].peer_id]
        found.paid.append(winner.asked)
        found.took_s.append(winner.answer(num_tokens, draw))
        found.won[winner.name] += 1
    return found


def honest(draw: random.Random) -> list[Seller]:
    return [
        Seller(
            name=f"honest {number}",
            times=draw.lognormvariate(0, 0.35),
            tokens_per_s=draw.randint(10, 60),
            ttft_ms=draw.randint(300, 1_500),
        )
        for number in range(NUM_HONEST)
    ]


def liars(**changes: object) -> list[Seller]:
    usual = {"times": 3.0, "tokens_per_s": 5, "ttft_ms": 2_000, "is_liar": True, **changes}
    return [Seller(name=f"liar {number}", **usual) for number in range(NUM_LIARS)]  # type: ignore[arg-type]  # a test's own words


LIARS = {
    "dear and slow": {},
    "advertised cheap": {"floor": 0.1},
    "always a new wallet": {"new_wallet_every": 5},
    "at the usual price": {"times": 1.0},
    "cheap, then dear": {"dear_after": 10, "tokens_per_s": 20, "ttft_ms": 800},
}


@cache
def without_liars() -> Run:
    return run(honest(random.Random(7)))


@pytest.mark.parametrize("case", LIARS)
def test_a_fifth_of_liars_wins_two_calls_of_a_hundred_and_costs_a_tenth_at_most(case: str) -> None:
    among, alone = run([*honest(random.Random(7)), *liars(**LIARS[case])]), without_liars()
    assert among.part_of("liar") <= 0.02
    assert mean(among.paid) <= 1.1 * mean(alone.paid)
    assert mean(among.took_s) <= 1.1 * mean(alone.took_s)
