"""The account of one request that pays for itself by x402.

The most that the answer can cost is checked before the work. The real charge and its voucher are written to the
ledger when the answer is ready, before it leaves. A refusal costs nothing. An answer that fails costs what other
nodes delivered of it: a payer who is also the seller could otherwise let the owner pay for every answer.
"""

from typing import Any, Final

import trio

from openledger_protocol.errors import MalformedError, PaymentRequiredError
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import ZERO_WEI, RequestId, Wei
from openledger_protocol.x402 import (
    PREFIX,
    X402Payment,
    payment_required_to_plain,
    requirements_to_plain,
)

from ..access.budget import Granted
from ..access.prepaid import price_of
from ..errors import LedgerError
from ..ledger.key_credits import KeyHold, RequestWork
from ..ledger.x402_channels import X402Charge
from ..text import open_text
from .x402_gateway import X402Gateway, X402RefusedError, X402Reservation, base_of

NO_PAYMENT: Final = "PAYMENT-SIGNATURE header is required"
NAME: Final = "x402 payer"
"""No API key can have this name."""


class X402Account:
    """See `PayingAccount`. `required` is what a refusal with status 402 carries in its header PAYMENT-REQUIRED."""

    def __init__(self, gateway: X402Gateway, payment: X402Payment | None, *, url: str, name: str = NAME) -> None:
        self._gateway = gateway
        self._payment = payment
        self._url = url
        self.name = name
        self.required: dict[str, Any] | None = None
        self._hold: KeyHold | None = None
        self._amount_wei = ZERO_WEI
        self._reserved: X402Reservation | None = None
        self._work: RequestWork | None = None  # known once the answer has ended
        self._is_error: bool | None = None  # known once the response has ended
        self._written = trio.Event()
        self._charged_wei = ZERO_WEI
        self._error: BaseException | None = None

    def terms(self, offered: Terms | None) -> Terms:
        """The prices of a model; `offered` are those of the network, and None is this machine."""
        prices = self._gateway.prices()
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
        """Check the payment against the most that the answer can cost; see `PayingAccount`.

        `least_wei` changes nothing, because a voucher covers the most.

        Raises:
            PaymentRequiredError: there is no payment, or it does not pay for this request.
            MalformedError: the request has several answers.
        """
        if shares > 1:
            raise MalformedError("a payment with the request pays for one answer: send one prompt, and leave n out")
        prices = self._gateway.prices()
        is_bought = most_wei > 0 if is_bought is None else is_bought
        tokens_in = least_tokens - 1
        most = prices.bought_wei(most_wei) if is_bought else prices.own_wei(tokens_in, most_tokens - tokens_in)
        self._amount_wei = amount_wei = max(most, Wei(1))
        if self._payment is None:
            raise await self._refused(NO_PAYMENT, "this request has no API key and no payment")
        try:
            self._reserved = await self._gateway.reserve(self._payment, amount_wei)
        except X402RefusedError as error:
            raise await self._refused(PREFIX + error.code, str(error)) from error
        self._hold = KeyHold(
            request_id=request_id,
            key=NAME,
            began_s=self._gateway.now_s(),
            is_bought=is_bought,
            price_in_wei=prices.own.price_in_wei,
            price_out_wei=prices.own.price_out_wei,
            margin_ppm=prices.margin_ppm,
        )
        return Granted(wei=most_wei if is_bought else None)

    async def settle(self, request_id: RequestId, *, spent_wei: Wei, tokens: int) -> Wei | None:
        """Note what the answer has used by the ledger; it is charged as soon as the response has ended as well.

        Returns the charge of an answer whose response does not end as an error.
        """
        try:
            self._work = await trio.to_thread.run_sync(self._gateway.ledger.key_credits.final_work, request_id)
            if self._is_error is not None:
                await self._write()
            return self._price_wei()
        except BaseException as error:
            self.abandon(error)
            raise

    def abandon(self, error: BaseException) -> None:
        """Let the next request of the channel in, and the response end without an answer; see `PayingAccount`."""
        if not self._written.is_set():
            self._error = error
            self._end()

    async def conclude(self, *, is_error: bool) -> dict[str, Any] | None:
        """Charge the answer, whose response is ready and has not been sent; return what PAYMENT-RESPONSE says.

        None: nothing was paid. `is_error`: the response is an error.

        Raises:
            LedgerError: the charge can't be written, so the answer must not leave.
        """
        if self._reserved is None or self._is_error is not None:
            return None
        self._is_error = is_error
        if self._work is not None and not self._written.is_set():
            try:
                await self._write()
            except Exception as error:  # raised below, as the ledger's
                self.abandon(error)
        await self._written.wait()
        if self._error:
            raise LedgerError(f"the charge can't be written: {self._error}") from self._error
        has_deposited = self._reserved.deposited and self._reserved.deposited.transaction
        if is_error and not self._charged_wei and not has_deposited:
            return None
        return self._response(self._reserved)

    async def _write(self) -> None:
        """Store the charge with its voucher, and let the next request of the channel in."""
        reserved, hold, work = self._reserved, self._hold, self._work
        assert reserved is not None
        assert hold is not None
        assert work is not None
        charged_wei = self._price_wei()
        charge = X402Charge(
            request_id=hold.request_id,
            voucher=reserved.payment.voucher,
            channel=reserved.payment.channel,
            before_wei=reserved.base_wei,
            charged_wei=charged_wei,
            cost_wei=work.cost_wei,
            now_s=self._gateway.now_s(),
            balance_wei=reserved.state.balance_wei,
        )
        with trio.CancelScope(shield=True):
            if charged_wei or work.cost_wei:
                await trio.to_thread.run_sync(self._gateway.ledger.x402.charge, charge)
        self._charged_wei = charged_wei
        self._end()

    def _price_wei(self) -> Wei:
        """The charge by what is known so far: the answer's work, and whether its response is an error."""
        assert self._hold is not None
        assert self._work is not None
        is_free = self._is_error and not self._hold.is_bought
        return ZERO_WEI if is_free else Wei(min(self._amount_wei, price_of(self._hold, self._work)))

    def _end(self) -> None:
        if self._reserved:
            self._gateway.release(self._reserved.payment.voucher.channel_id)
        self._written.set()

    async def _refused(self, error: str, message: str) -> PaymentRequiredError:
        """The refusal, with terms that tell the payer where the channel stands if its amount was wrong."""
        terms = self._gateway.terms
        assert terms
        corrective = await self._corrective() if error.endswith("cumulative_amount_mismatch") else {}
        self.required = payment_required_to_plain(
            requirements_to_plain(terms, self._amount_wei, **corrective),
            url=self._url,
            error=error,
            has_gas_sponsoring=terms.has_gas_sponsoring,
        )
        return PaymentRequiredError(
            f"{message}. This request costs {open_text(self._amount_wei)} at most: the header PAYMENT-REQUIRED has "
            "the terms of x402, and the owner of this node sells API keys"
        )

    async def _corrective(self) -> dict[str, Any]:
        """The channel as this node has it, and the voucher that proves it."""
        assert self._payment
        channel_id = self._payment.voucher.channel_id
        state, row = await self._gateway.state(channel_id), await self._gateway.row(channel_id)
        shown = _channel_state(channel_id, state, base_of(row, state))
        if row is None or row.charged_wei < state.claimed_wei:
            return {"channelState": shown}  # the chain is what both sides can go by
        proof = {"signedMaxClaimable": str(row.signed_wei), "signature": "0x" + row.signature.hex()}
        return {"channelState": shown, "voucherState": proof}

    def _response(self, reserved: X402Reservation) -> dict[str, Any]:
        terms, payment, deposited = self._gateway.terms, reserved.payment, reserved.deposited
        assert terms
        channel_id = payment.voucher.channel_id
        is_new = deposited is not None and bool(deposited.transaction)
        return {
            "success": True,
            "transaction": deposited.transaction if deposited else "",
            "network": terms.network,
            "payer": payment.channel.payer,
            "amount": payment.plain["payload"]["deposit"]["amount"] if is_new else "",
            "extra": {
                "chargedAmount": str(self._charged_wei),
                "channelState": _channel_state(
                    channel_id, reserved.state, Wei(reserved.base_wei + self._charged_wei)
                ),
            },
        }


def _channel_state(channel_id: str, state: Any, charged_wei: Wei) -> dict[str, Any]:
    return {
        "channelId": channel_id,
        "balance": str(state.balance_wei),
        "totalClaimed": str(state.claimed_wei),
        "withdrawRequestedAt": state.withdraw_since_s,
        "refundNonce": str(state.refund_nonce),
        "chargedCumulativeAmount": str(charged_wei),
    }
