"""The payer's channels: vouchers that only grow, what may be owed, and receipts one after the other."""

import pytest
import trio
from support.market_world.terms import AUTHORIZER, CHANNEL, CONFIG, DOMAIN, NOW_NS, Clock, sign_as, word

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
    for price in (100, 100, 50, 200):
        channel.tab.run_up(A, Wei(price))
        signed = await wallet.raise_ceiling(channel)
        row = ledger.channels.find(CHANNEL)
        assert row is not None
        assert row.lane(BASE_ONLY).signed_voucher == signed
        assert signed.voucher.max_claimable_wei >= max(price, last + 1)
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
    tab = Tab(charged_wei=Wei(charged_wei), ceiling_wei=Wei(ceiling_wei))
    lane = PayerLane.after_restart(
        channel_id=CHANNEL, adapter_id=BASE_ONLY, tab=tab, lost={A: Wei(100)}, receipts_wei=Wei(0)
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
