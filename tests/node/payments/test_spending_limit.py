"""The limit of a day: money for a receipt that did not come counts for ten minutes, and its receipt when it comes."""

import pytest

from openledger_node.ledger.bought import OpenPurchase
from openledger_node.payments.spending_limit import DAY_S, RELEASED_S, SpendingLimit
from openledger_protocol.errors import PaymentRequiredError
from openledger_protocol.primitives import (
    BASE_ONLY,
    ZERO_ADDRESS,
    ZERO_WEI,
    Address,
    ChannelId,
    RequestId,
    Wei,
)

A, B = (RequestId("0x" + digit * 64) for digit in "ab")
DAY_MAX_WEI = Wei(100)
S = 10**9


class Receipts:
    """The receipts of a day that the ledger has."""

    def __init__(self, paid_wei: int = 0) -> None:
        self.paid = Wei(paid_wei)

    def paid_wei(self, payer: Address, *, since_s: int) -> Wei:
        return self.paid


class Purse:
    """A limit, and the clock that it goes by."""

    def __init__(self, *lost: OpenPurchase, paid_wei: int = 0, now_s: int = DAY_S + 3_600) -> None:
        self.now_ns = now_s * S
        self.limit = SpendingLimit(
            peers=Receipts(paid_wei),  # type: ignore[arg-type]  # it answers as the ledger does
            payer=ZERO_ADDRESS,
            request_max_wei=DAY_MAX_WEI,
            day_max_wei=DAY_MAX_WEI,
            now_ns=lambda: self.now_ns,
            lost_since=lambda since_s: [each for each in lost if each.agreed["opened_s"] >= since_s],
        )

    async def left(self) -> int:
        """The money that another request could get now."""
        try:
            granted = await self.limit.hold(B, least_wei=Wei(1), most_wei=DAY_MAX_WEI)
        except PaymentRequiredError:
            return 0
        self.limit.settle(B, ZERO_WEI)
        return granted

    async def lose(self, paid_wei: int) -> None:
        await self.limit.hold(A, least_wei=Wei(1), most_wei=Wei(paid_wei))
        self.limit.settle(A, ZERO_WEI, lost_wei=Wei(paid_wei))


def lost(paid_wei: int, *, opened_s: int) -> OpenPurchase:
    return OpenPurchase(
        request_id=A,
        channel_id=ChannelId("0x" + "c" * 64),
        adapter_id=BASE_ONLY,
        most_wei=Wei(paid_wei),
        agreed={"opened_s": opened_s},
    )


async def test_money_for_a_receipt_that_did_not_come_is_free_again_after_ten_minutes() -> None:
    purse = Purse()
    await purse.lose(60)
    assert (await purse.left(), await purse.limit.spent_today()) == (40, 60)
    purse.now_ns += RELEASED_S * S - 1
    assert await purse.left() == 40
    purse.now_ns += 1
    assert (await purse.left(), await purse.limit.spent_today()) == (100, 0)


@pytest.mark.parametrize("after_s", [0, RELEASED_S])
async def test_a_late_receipt_counts_once_and_with_what_it_charges(after_s: int) -> None:
    purse = Purse()
    await purse.lose(60)
    purse.now_ns += after_s * S
    purse.limit.settle_late(A, paid_wei=Wei(60), amount_wei=Wei(25))
    assert (await purse.left(), await purse.limit.spent_today()) == (75, 25)


async def test_a_seller_that_makes_no_receipt_frees_the_money_at_once() -> None:
    purse = Purse()
    await purse.lose(60)
    purse.limit.release(A, Wei(60))
    assert await purse.left() == 100


async def test_a_day_costs_at_most_twice_its_limit_however_late_the_receipts_come() -> None:
    """A seller that broke off its answers could take the limit every ten minutes, and show receipts at night."""
    purse, paid_wei = Purse(), 0
    for number in range(9):
        paid_wei += (took_wei := await purse.left())
        if took_wei:
            await purse.lose(took_wei)
            if number % 2:  # by its own word it makes no receipt, and then makes one all the same
                purse.limit.release(A, Wei(took_wei))
        purse.now_ns += RELEASED_S * S
    assert paid_wei == 2 * DAY_MAX_WEI
    assert await purse.limit.spent_today() == DAY_MAX_WEI
    purse.limit.settle_late(A, paid_wei=DAY_MAX_WEI, amount_wei=Wei(70))
    assert await purse.left() == 30
    purse.now_ns += DAY_S * S
    assert await purse.left() == 100, "the next day has a limit of its own"


async def test_a_restart_frees_no_second_limit_on_the_same_day() -> None:
    now_s = DAY_S + 3_600
    purse = Purse(lost(70, opened_s=now_s - 1_000), lost(80, opened_s=now_s - 2_000), now_s=now_s)
    assert await purse.left() == 50


async def test_two_sellers_of_one_request_are_told_apart_by_what_they_were_paid() -> None:
    purse = Purse()
    await purse.lose(30)
    await purse.lose(50)
    purse.limit.settle_late(A, paid_wei=Wei(30), amount_wei=Wei(10))
    assert await purse.limit.spent_today() == 60


async def test_a_restart_forgets_no_money_that_a_seller_may_still_charge() -> None:
    """It was free again after each restart, so that a node that restarted often had no limit."""
    now_s = DAY_S + 3_600
    purse = Purse(lost(60, opened_s=now_s - 100), lost(30, opened_s=now_s - RELEASED_S - 1), paid_wei=5, now_s=now_s)
    assert (await purse.left(), await purse.limit.spent_today()) == (35, 65)
    purse.now_ns += (RELEASED_S - 100) * S
    assert await purse.limit.spent_today() == 5


async def test_midnight_does_not_free_what_was_lost_a_minute_ago() -> None:
    purse = Purse(now_s=2 * DAY_S - 60)
    await purse.lose(60)
    purse.now_ns += 61 * S
    assert await purse.limit.spent_today() == 60
