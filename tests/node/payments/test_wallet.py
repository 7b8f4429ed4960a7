"""The payer's channels: vouchers that only grow, and what may be owed, whatever a node invents."""

from contextlib import suppress

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.market_world.terms import (
    AUTHORIZER,
    CHANNEL,
    CHUNK_TOKENS,
    CONFIG,
    DOMAIN,
    NOW_NS,
    Clock,
    price,
    sign_as,
    word,
)

from openledger_node.ledger.bought import OpenPurchase
from openledger_node.ledger.ledger import Ledger
from openledger_node.ledger.receipts import ReceiptRow
from openledger_node.payments.payer_lanes import LOST_NS, PayerLane, PayerLanes
from openledger_protocol.errors import ReceiptRefusedError
from openledger_protocol.lane_tab import Tab
from openledger_protocol.payments import voucher_digest
from openledger_protocol.primitives import BASE_ONLY, RequestId, Wei
from openledger_protocol.signatures import check_signer

A, B, C = (RequestId(word(name)) for name in "abc")


def wallet_of(ledger: Ledger) -> PayerLanes:
    return PayerLanes(ledger=ledger, domain=DOMAIN, sign=sign_as("authorizer"), now_ns=Clock())


def channel_of(**amounts: int) -> PayerLane:
    return PayerLane(
        channel_id=CHANNEL, adapter_id=BASE_ONLY, tab=Tab(**{name: Wei(wei) for name, wei in amounts.items()})
    )


async def test_each_voucher_is_higher_than_all_before_and_kept_before_it_is_handed_out(ledger: Ledger) -> None:
    wallet = wallet_of(ledger)
    channel = await wallet.open(CONFIG, BASE_ONLY)
    last = 0
    for cost in (100, 100, 50, 200):
        channel.tab.run_up(A, Wei(cost))
        signed = await wallet.raise_ceiling(channel)
        row = ledger.channels.find(CHANNEL)
        assert row is not None
        assert row.lane(BASE_ONLY).signed_voucher == signed
        assert signed.voucher.max_claimable_wei >= max(cost, last + 1)
        check_signer(voucher_digest(signed.voucher, DOMAIN), signed.signature, AUTHORIZER)
        last = signed.voucher.max_claimable_wei


async def test_vouchers_that_are_asked_for_at_once_are_all_told_apart(ledger: Ledger) -> None:
    wallet = wallet_of(ledger)
    channel = await wallet.open(CONFIG, BASE_ONLY)
    ceilings: list[int] = []

    async def pay(name: RequestId) -> None:
        channel.tab.run_up(name, Wei(10))
        ceilings.append((await wallet.raise_ceiling(channel)).voucher.max_claimable_wei)

    async with trio.open_nursery() as nursery:
        for name in (A, B, C):
            nursery.start_soon(pay, name)
    assert len(set(ceilings)) == 3
    assert max(ceilings) >= 30


def paid(name: RequestId, wei: int) -> OpenPurchase:
    return OpenPurchase(request_id=name, channel_id=CHANNEL, adapter_id=BASE_ONLY, most_wei=Wei(wei), agreed={})


async def test_after_a_restart_all_that_was_paid_on_streams_may_be_owed(ledger: Ledger) -> None:
    wallet = wallet_of(ledger)
    channel = await wallet.open(CONFIG, BASE_ONLY)
    for wei in (60, 100):
        channel.tab.run_up(A, Wei(wei))
        await wallet.raise_ceiling(channel, paid(A, wei))
    again = await wallet_of(ledger).open(CONFIG, BASE_ONLY)
    assert (again.tab.ceiling_wei, again.tab.lost_wei, again.tab.owed_wei) == (100, 100, 0)
    again.tab.run_up(B, Wei(30))
    assert (await wallet.raise_ceiling(again)).voucher.max_claimable_wei == 130


def test_a_lost_stream_may_have_been_charged_what_was_paid_on_it_and_no_more() -> None:
    channel = channel_of(charged_wei=10, ceiling_wei=100)
    channel.tab.running.update({A: Wei(30), B: Wei(20)})
    channel.lose(A, NOW_NS)
    assert channel.tab.lost_wei == 30
    channel.check_late(A, Wei(30), is_charged=False)
    with pytest.raises(ReceiptRefusedError, match="amount_wei 31 is over the 30 wei that were paid on its stream"):
        channel.check_late(A, Wei(31), is_charged=False)
    with pytest.raises(ReceiptRefusedError, match="is over the 0 wei that were paid on its stream"):
        channel.check_late(B, Wei(1), is_charged=False)


def test_a_lost_stream_that_explained_an_earlier_charge_is_not_charged_again() -> None:
    channel = channel_of(ceiling_wei=100)
    channel.tab.running.update({A: Wei(30), B: Wei(20)})
    channel.lose(A, NOW_NS)
    channel.find_lost(Wei(25))
    with pytest.raises(ReceiptRefusedError, match="over the 5 wei that receipts of lost streams may still charge"):
        channel.check_late(A, Wei(25), is_charged=False)
    channel.check_late(A, Wei(25), is_charged=True)
    with pytest.raises(ReceiptRefusedError, match="over the 25 wei that receipts of lost streams may still charge"):
        channel.check_late(A, Wei(26), is_charged=True)


async def test_a_restart_does_not_forget_which_charges_have_no_receipt_yet(ledger: Ledger) -> None:
    wallet = wallet_of(ledger)
    channel = await wallet.open(CONFIG, BASE_ONLY)
    channel.tab.run_up(A, Wei(100))
    await wallet.raise_ceiling(channel, paid(A, 100))
    ledger.channels.charge(CHANNEL, BASE_ONLY, Wei(70))  # by a later receipt, which is not here either
    again = await wallet_of(ledger).open(CONFIG, BASE_ONLY)
    assert (again.found_wei, again.tab.lost_wei) == (70, 30)


@pytest.mark.parametrize(("charged_wei", "ceiling_wei", "lost_wei"), [(70, 1_000, 30), (0, 50, 50), (120, 1_000, 0)])
def test_a_restart_reckons_with_what_was_paid_on_streams_and_no_receipt_has_charged_within_the_vouchers(
    charged_wei: int, ceiling_wei: int, lost_wei: int
) -> None:
    tab = Tab(charged_wei=Wei(charged_wei + 5), ceiling_wei=Wei(ceiling_wei + 5))
    lane = PayerLane.after_restart(
        channel_id=CHANNEL, adapter_id=BASE_ONLY, tab=tab, lost={A: Wei(100)}, receipts_wei=Wei(5)
    )
    assert (lane.found_wei, lane.tab.lost_wei) == (charged_wei, lost_wei)


def test_a_stream_is_lost_once_and_a_settled_one_never() -> None:
    channel = channel_of(ceiling_wei=100)
    channel.tab.running.update({A: Wei(30), B: Wei(70)})
    channel.tab.settle(B, Wei(70))
    channel.lose(B, NOW_NS)
    assert channel.tab.lost_wei == 0
    channel.lose(A, NOW_NS)
    channel.lose(A, NOW_NS)
    assert channel.tab.lost_wei == 30


def test_the_charge_of_a_late_receipt_is_no_longer_lost_and_after_the_last_one_nothing_is() -> None:
    """Else a seller could break off an answer, charge it late, and be trusted with as much again on the next one."""
    channel = channel_of(ceiling_wei=1_000)
    channel.tab.running.update({A: Wei(600), B: Wei(400)})
    for name in (A, B):
        channel.lose(name, NOW_NS)
    assert channel.tab.lost_wei == 1_000
    channel.settle(A, amount_wei=Wei(590), cumulative_wei=Wei(590))
    assert (channel.tab.owed_wei, channel.tab.lost_wei) == (590, 400)
    channel.settle(B, amount_wei=Wei(380), cumulative_wei=Wei(970))
    assert (channel.tab.owed_wei, channel.tab.lost_wei) == (970, 0)


def test_a_late_receipt_that_a_later_one_has_shown_already_charges_nothing_more() -> None:
    channel = channel_of(ceiling_wei=1_000)
    channel.tab.running.update({A: Wei(600), B: Wei(300)})
    channel.lose(A, NOW_NS)
    channel.find_lost(Wei(590))
    channel.settle(B, amount_wei=Wei(300), cumulative_wei=Wei(890))
    assert (channel.tab.charged_wei, channel.tab.lost_wei) == (890, 10)
    channel.settle(A, amount_wei=Wei(590), cumulative_wei=Wei(590))
    assert (channel.tab.charged_wei, channel.tab.lost_wei) == (890, 0)


def test_a_refused_stream_owes_nothing() -> None:
    channel = channel_of(ceiling_wei=100)
    channel.tab.running[A] = Wei(100)
    channel.drop(A)
    channel.lose(A, NOW_NS)
    assert (channel.tab.owed_wei, channel.tab.lost_wei) == (0, 0)


def test_lost_money_that_no_receipt_has_claimed_is_forgotten_in_time() -> None:
    channel = channel_of(ceiling_wei=100)
    channel.tab.running[A] = Wei(100)
    channel.lose(A, NOW_NS)
    channel.forget_lost(NOW_NS + LOST_NS)
    assert channel.tab.lost_wei == 100
    channel.forget_lost(NOW_NS + LOST_NS + 1)
    assert channel.tab.lost_wei == 0


def test_each_lost_stream_is_written_off_by_its_own_time_however_many_follow() -> None:
    """A node whose streams broke off every few minutes kept all of them covered by later vouchers."""
    channel = channel_of(ceiling_wei=100)
    for number, name in enumerate((A, B)):
        channel.tab.running[name] = Wei(40)
        channel.lose(name, NOW_NS + number * LOST_NS)
    channel.forget_lost(NOW_NS + LOST_NS + 1)
    assert (channel.tab.lost_wei, channel.written_off) == (40, {A})
    channel.find_lost(Wei(40))
    channel.settle(B, amount_wei=Wei(40), cumulative_wei=Wei(40))
    assert channel.tab.lost_wei == 0


def test_a_written_off_stream_that_is_charged_late_leaves_what_others_have_lost() -> None:
    channel = channel_of(ceiling_wei=100)
    channel.tab.running.update({A: Wei(60), B: Wei(40)})
    channel.lose(A, NOW_NS)
    channel.forget_lost(NOW_NS + LOST_NS + 1)
    channel.lose(B, NOW_NS + LOST_NS + 1)
    channel.check_late(A, Wei(60), is_charged=False)
    channel.settle(A, amount_wei=Wei(60), cumulative_wei=Wei(60))
    assert (channel.tab.charged_wei, channel.tab.lost_wei) == (60, 40)


@pytest.mark.parametrize(
    ("waiting", "charged_wei", "has_turn"),
    [
        ({}, 50, True),  # it follows on what was charged
        ({}, 0, False),  # B or C may still bring what comes before
        ({B: 10}, 0, False),  # C may
        ({B: 10, C: 20}, 0, False),  # both come before it
        ({B: 60, C: 70}, 0, True),  # both come after it: the gap is one of lost streams
        ({B: 60, C: 40}, 0, False),
    ],
)
def test_a_receipt_waits_for_those_before_it_as_long_as_they_may_come(
    waiting: dict[RequestId, int], charged_wei: int, has_turn: bool
) -> None:
    channel = channel_of(charged_wei=charged_wei, ceiling_wei=100)
    channel.tab.running.update({A: Wei(10), B: Wei(10), C: Wei(10)})
    channel.waiting.update({name: Wei(before) for name, before in waiting.items()})
    assert channel.has_turn(A, Wei(50)) == has_turn


async def test_two_receipts_are_never_taken_at_once(ledger: Ledger) -> None:
    """Both may say that they follow the same one: only the first that is checked and kept is right."""
    wallet = wallet_of(ledger)
    channel = await wallet.open(CONFIG, BASE_ONLY)
    channel.tab.running.update({A: Wei(10), B: Wei(10)})
    num_taking = most = 0

    async def take() -> ReceiptRow:
        nonlocal num_taking, most
        num_taking += 1
        most = max(most, num_taking)
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        num_taking -= 1
        return object()  # type: ignore[return-value]  # handed through

    async def settle(name: RequestId) -> None:
        await wallet.in_turn(channel, name, Wei(0), take, timeout_s=1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(settle, A)
        nursery.start_soon(settle, B)
    assert most == 1
    assert channel.waiting == {}


# ---- a payer whose node invents gaps and late receipts owes no more than was paid on its streams


TOKENS_IN, TOKENS_MAX = 5, 40


def restarted(payer: PayerLane, lost: dict[RequestId, Wei], receipts_wei: int) -> PayerLane:
    tab = Tab(charged_wei=payer.tab.charged_wei, ceiling_wei=payer.tab.ceiling_wei)
    return PayerLane.after_restart(
        channel_id=CHANNEL, adapter_id=BASE_ONLY, tab=tab, lost=lost, receipts_wei=Wei(receipts_wei)
    )


amounts = st.one_of(
    st.integers(1, TOKENS_MAX).map(lambda tokens: price(TOKENS_IN, tokens)), st.just(Wei(0)), st.just(Wei(1))
)


class Overcharged(RuleBasedStateMachine):
    """A payer whose node invents gaps and late receipts."""

    def __init__(self) -> None:
        super().__init__()
        self.payer = PayerLane(channel_id=CHANNEL, adapter_id=BASE_ONLY, tab=Tab())
        self.paid: dict[RequestId, int] = {}  # tokens paid, by stream
        self.receipts_wei = self.num_vouchers = self.now_ns = 0

    @property
    def running(self) -> list[RequestId]:
        return list(self.payer.tab.running)

    def pay(self, name: RequestId, tokens: int) -> None:
        tab = self.payer.tab
        self.paid[name] = min(tokens, TOKENS_MAX)
        tab.run_up(name, price(TOKENS_IN, self.paid[name]))
        tab.ceiling_wei = Wei(max(tab.owed_wei + tab.lost_wei, tab.ceiling_wei + 1))
        self.num_vouchers += 1

    @precondition(lambda self: len(self.paid) < 8)
    @rule()
    def open(self) -> None:
        self.pay(RequestId(word(f"stream {len(self.paid)}")), CHUNK_TOKENS)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def pay_on(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.running))
        self.pay(name, self.paid[name] + CHUNK_TOKENS)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.payer.lose(data.draw(st.sampled_from(self.running)), self.now_ns)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), gap_wei=amounts)
    def take(self, data: st.DataObject, gap_wei: Wei) -> None:
        """A receipt in time, after a gap that no receipt explains."""
        name = data.draw(st.sampled_from(self.running))
        amount_wei = price(TOKENS_IN, data.draw(st.integers(1, self.paid[name])))
        before = Wei(self.payer.tab.charged_wei + gap_wei)
        self.payer.find_lost(before)
        if before == self.payer.tab.charged_wei:
            self.settle(name, amount_wei, Wei(before + amount_wei))
        else:
            self.payer.lose(name, self.now_ns)

    @precondition(lambda self: set(self.paid) - set(self.running))
    @rule(data=st.data(), amount_wei=amounts, back_wei=amounts, gap_wei=amounts)
    def take_late(self, data: st.DataObject, amount_wei: Wei, back_wei: Wei, gap_wei: Wei) -> None:
        """A receipt of a stream that is over, for any amount and in any place."""
        name = data.draw(st.sampled_from(sorted(set(self.paid) - set(self.running))))
        cumulative_wei = self.payer.tab.charged_wei + gap_wei + amount_wei - back_wei
        self.payer.find_lost(Wei(max(0, cumulative_wei - amount_wei)))
        charged_wei = self.payer.tab.charged_wei
        is_charged = cumulative_wei <= charged_wei
        if cumulative_wei > self.payer.tab.ceiling_wei or not (
            is_charged or cumulative_wei == charged_wei + amount_wei
        ):
            return
        with suppress(ReceiptRefusedError):
            self.payer.check_late(name, amount_wei, is_charged=is_charged)
            self.settle(name, amount_wei, Wei(cumulative_wei))

    def settle(self, name: RequestId, amount_wei: Wei, cumulative_wei: Wei) -> None:
        self.payer.settle(name, amount_wei=amount_wei, cumulative_wei=cumulative_wei)
        self.receipts_wei += amount_wei

    @rule()
    def wait(self) -> None:
        self.now_ns += LOST_NS + 1
        self.payer.forget_lost(self.now_ns)

    @rule()
    def restart(self) -> None:
        lost = self.payer.lost | {name: price(TOKENS_IN, self.paid[name]) for name in self.running}
        self.payer = restarted(self.payer, lost, self.receipts_wei)

    @invariant()
    def nothing_is_owed_but_what_was_paid_on_a_stream(self) -> None:
        paid_wei = sum(price(TOKENS_IN, tokens) for tokens in self.paid.values())
        tab = self.payer.tab
        assert tab.owed_wei + tab.lost_wei <= paid_wei
        assert tab.ceiling_wei <= paid_wei + self.num_vouchers

    @invariant()
    def receipts_charge_each_wei_once(self) -> None:
        assert self.receipts_wei <= self.payer.tab.charged_wei


Overcharged.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestOvercharged = Overcharged.TestCase
