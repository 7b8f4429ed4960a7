"""Prepaid keys: prices that round up for the buyer, holds that cover the most, and charges by what was done."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio
from support.signed import CHANNEL, CONFIG

from openledger_node.access.budget import Granted
from openledger_node.access.gateway_prices import GatewayPrices, gateway_prices
from openledger_node.access.keys import ApiKeyRing
from openledger_node.access.prepaid import PrepaidAccount, price_of
from openledger_node.access.quota import HeldError
from openledger_node.config import GatewayConfig, MarketConfig
from openledger_node.errors import InputError
from openledger_node.home import Home
from openledger_node.ledger.bought import OpenPurchase
from openledger_node.ledger.jobs import Job
from openledger_node.ledger.key_credits import KeyCredit, KeyHold, RequestWork
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.operator.prepaid_keys import PrepaidKeys
from openledger_protocol.errors import OverloadedError, PaymentRequiredError
from openledger_protocol.inference import Completion
from openledger_protocol.payments import SignedVoucher, Terms, Voucher
from openledger_protocol.primitives import BASE_ONLY, ZERO_WEI, ChannelId, RequestId, Wei

KEY = "bob"
ID = RequestId("0x" + "11" * 32)
PRICES = GatewayPrices(own=Terms(price_in_wei=Wei(1_000), price_out_wei=Wei(4_000)), margin_ppm=100_000)


@dataclass
class Limits:
    """The daily limits of a key, which grant what they are told to."""

    name: str = KEY
    granted: Granted = field(default_factory=Granted)
    error: Exception | None = None
    settled: list[tuple[int, int]] = field(default_factory=list)

    async def hold(
        self,
        request_id: RequestId,
        *,
        most_wei: Wei,
        most_tokens: int,
        least_tokens: int = 1,
        shares: int = 1,
        is_bought: bool | None = None,
        least_wei: Wei = ZERO_WEI,
    ) -> Granted:
        if self.error:
            raise self.error
        return self.granted

    async def settle(self, request_id: RequestId, *, spent_wei: Wei, tokens: int) -> None:
        self.settled.append((spent_wei, tokens))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(open_ledger(tmp_path / "ledger.db")) as opened:
        yield opened


def account_of(ledger: Ledger, limits: Limits | None = None, *, credit_wei: int = 10_000) -> PrepaidAccount:
    ledger.key_credits.add(KeyCredit(key=KEY, added_s=0, amount_wei=Wei(credit_wei), note=""))
    return PrepaidAccount(limits or Limits(), ledger.key_credits, lambda: PRICES, lambda: 1)


def answer(ledger: Ledger, *, tokens_in: int, tokens_out: int) -> None:
    """Record a whole answer of this machine."""
    ledger.jobs.start(
        Job(
            request_id=ID,
            received_ns=1,
            base="demo",
            adapter_id=None,
            adapter_name=None,
            state="running",
            tokens_in=tokens_in,
        )
    )
    completion = Completion(
        request_id=ID,
        base="demo",
        adapter_id=None,
        text="",
        ids=(),
        finish_reason="stop",
        tokens_in=tokens_in,
        tokens_out=tokens_out,
    )
    ledger.jobs.complete(completion, first_token_ns=2, ended_ns=3)


def lane_of(ledger: Ledger) -> ChannelId:
    """A channel with a lane for the base."""
    ledger.channels.ensure(CHANNEL, CONFIG, now_ns=1)
    voucher = Voucher(channel_id=CHANNEL, adapter_id=BASE_ONLY, max_claimable_wei=Wei(1))
    ledger.channels.raise_ceiling(SignedVoucher(voucher=voucher, signature=b""))
    return CHANNEL


@pytest.mark.parametrize(
    ("wei", "price"), [(0, 0), (1, 2), (10, 11), (11, 13), (10**30, 11 * 10**29)], ids=lambda value: str(value)
)
def test_a_margin_rounds_up_and_its_inverse_never_costs_more(wei: int, price: int) -> None:
    assert PRICES.bought_wei(wei) == price
    assert PRICES.bought_wei(PRICES.cost_max_wei(Wei(price))) <= price


def test_own_answers_round_up_once() -> None:
    prices = GatewayPrices(own=Terms(price_in_wei=Wei(1), price_out_wei=Wei(1)), margin_ppm=0)
    assert (prices.own_wei(0, 0), prices.own_wei(1, 1), prices.own_wei(600, 400)) == (0, 1, 1)


def test_own_prices_are_those_of_the_market_unless_set() -> None:
    market = MarketConfig(price_in_wei=5, price_out_wei=6)
    assert gateway_prices(GatewayConfig(), market).own == Terms(price_in_wei=Wei(5), price_out_wei=Wei(6))
    free = gateway_prices(GatewayConfig(price_in_wei=0), market).own
    assert free == Terms(price_in_wei=Wei(0), price_out_wei=Wei(6))


async def test_a_request_holds_the_most_and_pays_what_it_used(ledger: Ledger) -> None:
    limits = Limits()
    account = account_of(ledger, limits)
    await account.hold(ID, most_wei=Wei(0), most_tokens=1_100, least_tokens=101)
    assert ledger.key_credits.balance_wei(KEY) == 10_000 - (100 + 4_000)
    answer(ledger, tokens_in=100, tokens_out=3)
    await account.settle(ID, spent_wei=Wei(0), tokens=103)
    assert ledger.key_credits.balance_wei(KEY) == 10_000 - 112
    assert limits.settled == [(0, 103)]


async def test_an_answer_without_text_costs_its_prompt(ledger: Ledger) -> None:
    account = account_of(ledger)
    await account.hold(ID, most_wei=Wei(0), most_tokens=200, least_tokens=101)
    answer(ledger, tokens_in=100, tokens_out=0)  # a stop string was met at once, and the drawn token was shown
    await account.settle(ID, spent_wei=Wei(0), tokens=100)
    assert ledger.key_credits.balance_wei(KEY) == 10_000 - 100


async def test_a_receipt_that_comes_late_gives_back_what_was_held_for_it(ledger: Ledger) -> None:
    account, lane = account_of(ledger), lane_of(ledger)
    await account.hold(ID, most_wei=Wei(1_000), most_tokens=50)
    ledger.purchases.put(
        OpenPurchase(request_id=ID, channel_id=lane, adapter_id=BASE_ONLY, most_wei=Wei(500), agreed={})
    )
    answer(ledger, tokens_in=0, tokens_out=0)
    await account.settle(ID, spent_wei=Wei(500), tokens=0)
    assert ledger.key_credits.balance_wei(KEY) == 10_000 - 550, "the most that its seller may still charge"
    await account.hold(RequestId("0x" + "22" * 32), most_wei=Wei(0), most_tokens=2)
    assert ledger.key_credits.charges(KEY, limit=2)[1].charged_wei is None, "the receipt has not come"
    ledger.purchases.remove(ID, lane)
    await account.hold(RequestId("0x" + "33" * 32), most_wei=Wei(0), most_tokens=2)
    assert ledger.key_credits.charges(KEY, limit=3)[2].charged_wei == 0


async def test_a_seller_that_makes_no_receipt_gives_back_what_was_held_for_it(ledger: Ledger) -> None:
    """The row of the purchase stays, so that the credit was held for ever."""
    account, lane = account_of(ledger), lane_of(ledger)
    bought = OpenPurchase(request_id=ID, channel_id=lane, adapter_id=BASE_ONLY, most_wei=Wei(500), agreed={})
    await account.hold(ID, most_wei=Wei(1_000), most_tokens=50)
    ledger.purchases.put(bought)
    answer(ledger, tokens_in=0, tokens_out=0)
    await account.settle(ID, spent_wei=Wei(500), tokens=0)
    ledger.purchases.update(replace(bought, agreed={"is_forgone": True}))
    await account.hold(RequestId("0x" + "22" * 32), most_wei=Wei(0), most_tokens=2)
    assert ledger.key_credits.charges(KEY, limit=2)[1].charged_wei == 0
    assert ledger.key_credits.final_work(ID).cost_wei == 0


@pytest.mark.parametrize(("ceiling_wei", "cost_wei"), [(70, 40), (2_000, 500)])
def test_a_charge_that_is_final_counts_a_seller_that_left_by_its_vouchers(
    ledger: Ledger, ceiling_wei: int, cost_wei: int
) -> None:
    lane = lane_of(ledger)
    voucher = Voucher(channel_id=lane, adapter_id=BASE_ONLY, max_claimable_wei=Wei(ceiling_wei))
    ledger.channels.raise_ceiling(SignedVoucher(voucher=voucher, signature=b""))
    ledger.channels.charge(lane, BASE_ONLY, Wei(30))
    ledger.purchases.put(
        OpenPurchase(request_id=ID, channel_id=lane, adapter_id=BASE_ONLY, most_wei=Wei(500), agreed={})
    )
    assert ledger.key_credits.final_work(ID).cost_wei == cost_wei
    assert ledger.key_credits.work(ID).cost_wei == 500


def test_a_name_with_credit_of_an_earlier_key_is_not_sold_again(home: Home, ledger: Ledger) -> None:
    keys = PrepaidKeys(home, ledger)
    keys.add({"key": KEY, "amount_wei": "5"})
    ApiKeyRing(home).file.unlink()  # or an older backup of it came back
    with pytest.raises(InputError, match="of an earlier key 'bob'"):
        keys.add({"key": KEY, "amount_wei": "1"})
    assert ledger.key_credits.balance_wei(KEY) == 5


async def test_an_answer_that_failed_costs_nothing(ledger: Ledger) -> None:
    account = account_of(ledger)
    await account.hold(ID, most_wei=Wei(0), most_tokens=200, least_tokens=101)
    await account.settle(ID, spent_wei=Wei(0), tokens=0)
    assert ledger.key_credits.balance_wei(KEY) == 10_000


async def test_exhausted_credit_is_refused_with_balance_need_and_remedy(ledger: Ledger) -> None:
    account = account_of(ledger, credit_wei=99)
    with pytest.raises(PaymentRequiredError) as refused:
        await account.hold(ID, most_wei=Wei(0), most_tokens=200, least_tokens=101)
    assert refused.value.values == {"balance_wei": 99, "need_wei": 500}
    assert "0.0000000000000005 OPEN" in refused.value.message
    assert "`openledger-node gateway credit bob AMOUNT`" in refused.value.message


async def test_two_requests_cannot_hold_the_same_credit(ledger: Ledger) -> None:
    accounts = [account_of(ledger, credit_wei=250) for _ in range(2)]
    refusals = []

    async def ask(request_id: str) -> None:
        try:
            await accounts.pop().hold(RequestId(request_id), most_wei=Wei(0), most_tokens=200, least_tokens=101)
        except HeldError as error:
            refusals.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "0x" + "01" * 32)
        nursery.start_soon(ask, "0x" + "02" * 32)
    assert len(refusals) == 1, "it may try again, since the first one may cost less than it holds"
    assert ledger.key_credits.balance_wei(KEY) == 0


async def test_answers_of_one_request_that_are_too_dear_together_are_not_told_to_wait(ledger: Ledger) -> None:
    account = account_of(ledger, credit_wei=999)
    await account.hold(RequestId("0x" + "01" * 32), most_wei=Wei(0), most_tokens=200, least_tokens=101, shares=2)
    with pytest.raises(PaymentRequiredError):
        await account.hold(RequestId("0x" + "02" * 32), most_wei=Wei(0), most_tokens=200, least_tokens=101)
    assert ledger.key_credits.balance_wei(KEY) == 499


@pytest.mark.parametrize(
    ("credit_wei", "limit_wei", "granted_wei"), [(10_000, None, 1_000), (550, None, 500), (10_000, 7, 7)]
)
async def test_a_bought_answer_may_cost_what_the_credit_affords(
    ledger: Ledger, credit_wei: int, limit_wei: int | None, granted_wei: int
) -> None:
    limits = Limits(granted=Granted(wei=None if limit_wei is None else Wei(limit_wei), tokens=9))
    granted = await account_of(ledger, limits, credit_wei=credit_wei).hold(ID, most_wei=Wei(1_000), most_tokens=50)
    assert granted == Granted(wei=Wei(granted_wei), tokens=9)


async def test_answers_to_one_question_share_the_credit(ledger: Ledger) -> None:
    account = account_of(ledger, credit_wei=300)
    for number, shares in ((1, 3), (2, 2), (3, 1)):
        await account.hold(RequestId(f"0x{number:064x}"), most_wei=Wei(1_000), most_tokens=50, shares=shares)
    assert [each.held_wei for each in ledger.key_credits.charges(KEY, limit=3)] == [100, 100, 100]


def test_prices_of_the_network_are_shown_with_the_margin(ledger: Ledger) -> None:
    account = account_of(ledger)
    assert account.terms(None) == PRICES.own
    shown = account.terms(Terms(price_in_wei=Wei(10), price_out_wei=Wei(11)))
    assert shown == Terms(price_in_wei=Wei(11), price_out_wei=Wei(13))


async def test_no_credit_buys_nothing(ledger: Ledger) -> None:
    with pytest.raises(PaymentRequiredError):
        await account_of(ledger, credit_wei=0).hold(ID, most_wei=Wei(1_000), most_tokens=50)


async def test_credit_below_the_cheapest_offer_is_refused_before_the_network_is_asked(ledger: Ledger) -> None:
    account = account_of(ledger, credit_wei=109)  # with the margin of a tenth, 100 wei cost 110
    order = {"most_wei": Wei(1_000), "most_tokens": 50, "is_bought": True, "least_wei": Wei(100)}
    with pytest.raises(PaymentRequiredError) as refused:
        await account.hold(ID, **order)  # type: ignore[arg-type]
    assert refused.value.values == {"balance_wei": 109, "need_wei": 110}
    assert ledger.key_credits.charges(KEY, limit=1) == []
    ledger.key_credits.add(KeyCredit(key=KEY, added_s=0, amount_wei=Wei(1), note=""))
    assert (await account.hold(ID, **order)).wei == 100  # type: ignore[arg-type]


async def test_a_bought_answer_that_may_cost_nothing_is_not_charged_as_our_own(ledger: Ledger) -> None:
    account = account_of(ledger, credit_wei=5)
    granted = await account.hold(ID, most_wei=Wei(0), most_tokens=1_100, least_tokens=101, is_bought=True)
    assert granted.wei == 0
    answer(ledger, tokens_in=100, tokens_out=3)
    assert await account.settle(ID, spent_wei=Wei(0), tokens=103) == 0
    assert ledger.key_credits.balance_wei(KEY) == 5


async def test_the_charge_is_told_to_the_caller(ledger: Ledger) -> None:
    account = account_of(ledger)
    await account.hold(ID, most_wei=Wei(0), most_tokens=1_100, least_tokens=101)
    answer(ledger, tokens_in=100, tokens_out=3)
    assert await account.settle(ID, spent_wei=Wei(0), tokens=103) == 112


async def test_a_daily_limit_that_refuses_releases_the_credit(ledger: Ledger) -> None:
    account = account_of(ledger, Limits(error=OverloadedError("used up")))
    with pytest.raises(OverloadedError):
        await account.hold(ID, most_wei=Wei(0), most_tokens=200, least_tokens=101)
    assert ledger.key_credits.balance_wei(KEY) == 10_000


def test_a_bought_answer_costs_its_receipts_and_the_margin_even_if_it_was_cut_off() -> None:
    hold = KeyHold(
        request_id=ID,
        key=KEY,
        began_s=1,
        is_bought=True,
        price_in_wei=Wei(1_000),
        price_out_wei=Wei(4_000),
        margin_ppm=100_000,
    )
    assert price_of(hold, RequestWork(tokens_in=0, tokens_out=0, cost_wei=Wei(11))) == 13


async def test_a_change_of_prices_does_not_reach_a_request_that_runs(ledger: Ledger) -> None:
    prices = [PRICES]
    ledger.key_credits.add(KeyCredit(key=KEY, added_s=0, amount_wei=Wei(10_000), note=""))
    account = PrepaidAccount(Limits(), ledger.key_credits, lambda: prices[0], lambda: 1)
    await account.hold(ID, most_wei=Wei(0), most_tokens=1_100, least_tokens=101)
    prices[0] = GatewayPrices(own=Terms(price_in_wei=Wei(9_999), price_out_wei=Wei(9_999)), margin_ppm=0)
    answer(ledger, tokens_in=100, tokens_out=3)
    await account.settle(ID, spent_wei=Wei(0), tokens=103)
    assert ledger.key_credits.balance_wei(KEY) == 10_000 - 112
