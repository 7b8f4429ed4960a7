"""Prepaid accounts: a key's credit pays for its requests, at the gateway's prices."""

from collections.abc import Callable

import trio

from openledger_protocol.errors import PaymentRequiredError
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import ZERO_WEI, RequestId, Wei

from ..ledger.key_credits import KeyCredits, KeyHold, RequestWork
from ..text import open_text
from .budget import Granted, PayingAccount
from .gateway_prices import GatewayPrices
from .quota import HeldError


class PrepaidAccount:
    """The account of one request of a prepaid key: its credit, on top of the limits that every named key may have."""

    def __init__(
        self,
        limits: PayingAccount,
        credits: KeyCredits,
        prices: Callable[[], GatewayPrices],
        now_s: Callable[[], int],
    ) -> None:
        self._limits = limits
        self._credits = credits
        self._prices = prices
        self._now_s = now_s
        self._held_wei = ZERO_WEI  # for the answers of this request, which don't end before all have begun

    @property
    def name(self) -> str:
        """The key's name."""
        return self._limits.name

    def terms(self, offered: Terms | None) -> Terms:
        """The prices of a model for this key; `offered` are those of the network, and None is this machine."""
        prices = self._prices()
        return prices.with_margin(offered) if offered else prices.own

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
        """Hold the most that the answer can cost; see `PayingAccount`.

        Raises:
            PaymentRequiredError: the credit does not suffice.
            HeldError: it would suffice if no other request ran.
            OverloadedError: a daily limit of the key is used up.
        """
        prices = self._prices()
        is_bought = most_wei > 0 if is_bought is None else is_bought
        tokens_in = least_tokens - 1  # an answer has at least one token beside its prompt
        most = prices.bought_wei(most_wei) if is_bought else prices.own_wei(tokens_in, most_tokens - tokens_in)
        # A bought answer may end where the credit does. Credit for less than the cheapest offer buys nothing.
        need_wei = Wei(min(most, max(1, prices.bought_wei(least_wei)))) if is_bought else most
        hold = KeyHold(
            request_id=request_id,
            key=self.name,
            began_s=self._now_s(),
            is_bought=is_bought,
            price_in_wei=prices.own.price_in_wei,
            price_out_wei=prices.own.price_out_wei,
            margin_ppm=prices.margin_ppm,
        )

        def choose(balance_wei: Wei, beside_wei: Wei) -> Wei:
            if balance_wei < need_wei <= balance_wei + beside_wei - self._held_wei:
                raise HeldError(
                    "running requests of this API key hold the rest of its credit: try again when one has ended"
                )
            return choose_hold(self.name, balance_wei, need_wei=need_wei, most_wei=most, shares=shares)

        await trio.to_thread.run_sync(self._credits.settle_late, self.name, price_of)
        held_wei = await trio.to_thread.run_sync(self._credits.hold, hold, choose)
        self._held_wei = Wei(self._held_wei + held_wei)
        try:
            granted = await self._limits.hold(
                request_id,
                most_wei=most_wei,
                most_tokens=most_tokens,
                least_tokens=least_tokens,
                shares=shares,
                is_bought=is_bought,
                least_wei=least_wei,
            )
        except BaseException:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._credits.settle, request_id, price_of)
            raise
        if not is_bought:
            return granted
        affordable = prices.cost_max_wei(held_wei)
        return Granted(wei=min(affordable, most_wei if granted.wei is None else granted.wei), tokens=granted.tokens)

    async def settle(self, request_id: RequestId, *, spent_wei: Wei, tokens: int) -> Wei | None:
        """Charge what the answer cost by the ledger, and release the rest; see `PayingAccount`."""
        charged = await trio.to_thread.run_sync(self._credits.settle, request_id, price_of)
        await self._limits.settle(request_id, spent_wei=spent_wei, tokens=tokens)
        return charged

    def abandon(self, error: BaseException) -> None:
        """See `PayingAccount`. Nothing waits for it."""


def choose_hold(name: str, balance_wei: Wei, *, need_wei: Wei, most_wei: Wei, shares: int = 1) -> Wei:
    """Decide how much of a balance a request holds.

    Raises:
        PaymentRequiredError: less than `need_wei` is left.
    """
    if balance_wei < need_wei:
        raise PaymentRequiredError(
            f"the prepaid credit of the API key {name!r} does not suffice: this request needs "
            f"{open_text(need_wei)}, and {open_text(balance_wei)} is free. Send a shorter request or a smaller "
            "max_tokens, or pay the owner of this node, who adds credit by "
            f"`openledger-node gateway credit {name} AMOUNT`",
            balance_wei=balance_wei,
            need_wei=need_wei,
        )
    return Wei(min(max(need_wei, balance_wei // shares), most_wei))


def price_of(hold: KeyHold, work: RequestWork) -> Wei:
    """The price of an answer, by the prices that applied when it began.

    An answer of this machine that failed costs nothing. Of a bought answer, the parts that other nodes delivered
    cost something also if the rest failed, because this node has paid for them.
    """
    own = Terms(price_in_wei=hold.price_in_wei, price_out_wei=hold.price_out_wei)
    prices = GatewayPrices(own=own, margin_ppm=hold.margin_ppm)
    if hold.is_bought:
        return prices.bought_wei(work.cost_wei)
    return prices.own_wei(work.tokens_in, work.tokens_out)
