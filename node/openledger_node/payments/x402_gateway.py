"""The x402 gateway: checks payers' vouchers and deposits, one request of a channel at a time.

A voucher is checked against the channel's state on the chain, which this node reads itself. A state that was read a
minute ago is still good: a payer's withdrawal takes 15 minutes at least, and it is seen before it ends.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import trio

from openledger_protocol.errors import BadSignatureError, MalformedError, UnavailableError
from openledger_protocol.primitives import ZERO_ADDRESS, ZERO_WEI, ChannelId, Wei
from openledger_protocol.signatures import check_signer
from openledger_protocol.x402 import (
    SCHEME,
    X402Payment,
    X402Terms,
    requirements_to_plain,
    x402_channel_id,
    x402_voucher_digest,
)

from ..access.gateway_prices import GatewayPrices
from ..chain.x402 import X402Contract, X402State
from ..errors import NodeError
from ..ledger.ledger import Ledger
from ..ledger.x402_channels import X402Row
from .x402_facilitator import Deposited, Facilitator

FRESH_S: Final = 60
STATES_MAX: Final = 1_000
DEPOSITS_MAX: Final = 4
"""Deposits under way at once, since each one has a place in the queue of requests."""

DEPOSIT_SEEN_S: Final = 20.0
"""Time until a deposit that was reported is seen on the chain."""

POLL_S: Final = 0.5
RETRY_S: Final = 30.0


class X402RefusedError(Exception):
    """A payment that does not pay for this request, with the scheme's error code without its prefix."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class X402Offer:
    """The terms of this node, and the contract that they are about."""

    terms: X402Terms
    contract: X402Contract


@dataclass(frozen=True, slots=True, kw_only=True)
class X402Reservation:
    """A channel that one request has to itself, with a voucher that covers the request."""

    payment: X402Payment
    base_wei: Wei  # charged on the channel before this request
    state: X402State
    deposited: Deposited | None


class X402Gateway:
    """Payments of requests without a key. `terms` is None, and `why_not` says why, until they can be offered."""

    def __init__(
        self,
        look: Callable[[], X402Offer],
        facilitator: Facilitator,
        ledger: Ledger,
        prices: Callable[[], GatewayPrices],
        now_s: Callable[[], int],
    ) -> None:
        self._look = look  # blocks; raises NodeError if x402 can't be offered
        self._facilitator = facilitator
        self.ledger = ledger
        self.prices = prices
        self.now_s = now_s
        self.why_not: str | None = "the node has not looked at the chain and the facilitator yet"
        self._offer: X402Offer | None = None
        self._busy: set[ChannelId] = set()
        self._deposits = trio.CapacityLimiter(DEPOSITS_MAX)
        self._states: OrderedDict[ChannelId, tuple[int, X402State]] = OrderedDict()

    @property
    def terms(self) -> X402Terms | None:
        """The terms that a request without payment is answered with."""
        return self._offer.terms if self._offer else None

    async def run(self) -> None:
        """Look at the chain and the facilitator until the terms can be offered."""
        is_offered = False
        while not is_offered:
            is_offered = await self.offer()
            if not is_offered:
                await trio.sleep(RETRY_S)

    async def offer(self) -> bool:
        """Look once; return True if the terms are offered from now on."""
        found: X402Offer | None = None
        try:
            found = await trio.to_thread.run_sync(self._look, abandon_on_cancel=True)
            extensions = await self._facilitator.extensions_for(found.terms.network)
        except (NodeError, UnavailableError) as error:
            if found:
                found.contract.close()  # the next look opens another connection
            self.why_not = str(error)
            return False
        sponsors = found.terms.has_gas_sponsoring and "eip2612GasSponsoring" in extensions
        self._offer = replace(found, terms=replace(found.terms, has_gas_sponsoring=sponsors))
        self.why_not = None
        return True

    async def reserve(self, payment: X402Payment, amount_wei: Wei) -> X402Reservation:
        """Reserve a channel for one request that costs `amount_wei` at most, depositing first if the payer asks.

        Raises:
            X402RefusedError: the payment does not pay for it.
            ProtocolError: the facilitator or the chain does not answer.
        """
        assert self._offer, "nothing is asked before the terms are offered"
        check_x402_payment(payment, self._offer.terms)
        channel_id = payment.voucher.channel_id
        if channel_id in self._busy:
            raise X402RefusedError("channel_busy", "another request of this channel runs: send this one after it")
        self._busy.add(channel_id)
        try:
            return await self._reserve(payment, amount_wei)
        except BaseException:
            self.release(channel_id)
            raise

    async def is_known(self, payment: X402Payment) -> bool:
        """Return True if the payer has signed this voucher, and was charged on its channel before."""
        assert self._offer, "nothing is asked before the terms are offered"
        try:
            check_x402_payment(payment, self._offer.terms)
        except X402RefusedError:
            return False
        row = await self.row(payment.voucher.channel_id)
        return row is not None and row.charged_wei > 0

    def release(self, channel_id: ChannelId) -> None:
        """Let the next request of a channel in."""
        self._busy.discard(channel_id)

    async def row(self, channel_id: ChannelId) -> X402Row | None:
        """The ledger's row of a channel; None if no answer was charged on it."""
        return await trio.to_thread.run_sync(self.ledger.x402.find, channel_id)

    async def state(self, channel_id: ChannelId, *, is_fresh: bool = False) -> X402State:
        """A channel's state on the chain, read within the last minute, or now if it must be fresh.

        Raises:
            UnavailableError: the chain does not answer.
        """
        assert self._offer
        contract, now_s = self._offer.contract, self.now_s()
        known = self._states.get(channel_id)
        if known and not is_fresh and now_s - known[0] < FRESH_S:
            return known[1]

        def read() -> X402State:
            state = contract.state(channel_id)
            self.ledger.x402.sync(
                channel_id,
                balance_wei=state.balance_wei,
                claimed_wei=state.claimed_wei,
                withdraw_since_s=state.withdraw_since_s,
                now_s=now_s,
            )
            return state

        try:
            state = await trio.to_thread.run_sync(read)
        except NodeError as error:
            raise UnavailableError(f"the chain can't be asked about the payment ({error}): try again") from error
        self._states[channel_id] = (now_s, state)
        self._states.move_to_end(channel_id)
        while len(self._states) > STATES_MAX:
            self._states.popitem(last=False)
        return state

    async def _reserve(self, payment: X402Payment, amount_wei: Wei) -> X402Reservation:
        channel_id, ceiling_wei = payment.voucher.channel_id, payment.voucher.max_claimable_wei
        state, row = await self.state(channel_id), await self.row(channel_id)
        base_wei = base_of(row, state)
        if ceiling_wei != base_wei + amount_wei:
            raise X402RefusedError(
                "cumulative_amount_mismatch",
                f"the voucher's maxClaimableAmount is {ceiling_wei}, and must be {base_wei} + {amount_wei}",
            )
        deposited = None
        if payment.kind == "deposit":
            deposited = await self._deposit(payment, amount_wei)
            state = await self._seen(channel_id, ceiling_wei, is_reported=not deposited.why_not)
        elif ceiling_wei > state.free_wei:
            state = await self.state(channel_id, is_fresh=True)  # the payer may have deposited on their own
        if not state.balance_wei and not (deposited and deposited.why_not):
            raise X402RefusedError("channel_not_found", "nobody has deposited on this channel: send a deposit")
        if ceiling_wei > state.free_wei:
            if deposited and deposited.why_not:
                raise X402RefusedError("deposit_transaction_failed", f"the deposit failed: {deposited.why_not}")
            raise X402RefusedError(
                "cumulative_exceeds_balance",
                f"the channel has {state.free_wei} for vouchers, without what is withdrawn, and the voucher says "
                f"{ceiling_wei}: send a deposit",
            )
        return X402Reservation(payment=payment, base_wei=base_wei, state=state, deposited=deposited)

    async def _deposit(self, payment: X402Payment, amount_wei: Wei) -> Deposited:
        assert self._offer
        try:
            self._deposits.acquire_nowait()
        except trio.WouldBlock:
            raise X402RefusedError("channel_busy", "other deposits are under way: try again in a moment") from None
        try:
            requirements = requirements_to_plain(self._offer.terms, amount_wei)
            return await self._facilitator.deposit(payment.plain, requirements)
        finally:
            self._deposits.release()

    async def _seen(self, channel_id: ChannelId, ceiling_wei: Wei, *, is_reported: bool) -> X402State:
        """The channel's state once a deposit covers the voucher, or as it is when it should have."""
        until = trio.current_time() + (DEPOSIT_SEEN_S if is_reported else 0)
        while True:
            state = await self.state(channel_id, is_fresh=True)
            if state.free_wei >= ceiling_wei or trio.current_time() >= until:
                return state
            await trio.sleep(POLL_S)


def base_of(row: X402Row | None, state: X402State) -> Wei:
    """The amount on which the next voucher builds. The chain has more only after the ledger has forgotten rows."""
    return Wei(max(row.charged_wei if row else ZERO_WEI, state.claimed_wei))


def check_x402_payment(payment: X402Payment, terms: X402Terms) -> None:
    """Require that a payment is for these terms, and that its payer has signed its voucher.

    Raises:
        X402RefusedError: it is not, or they have not.
    """
    channel, voucher = payment.channel, payment.voucher
    if payment.kind == "refund":
        raise X402RefusedError(
            "payload_type", "this node gives no refunds on request: withdraw the rest by initiateWithdraw"
        )
    wrong = [
        (payment.scheme == SCHEME, "scheme", f"the scheme must be {SCHEME}"),
        (payment.network == terms.network, "network_mismatch", f"the network must be {terms.network}"),
        (channel.token == terms.asset, "token_mismatch", f"the token must be {terms.asset}"),
        (channel.receiver == terms.pay_to, "receiver_mismatch", f"the receiver must be {terms.pay_to}"),
        (
            channel.receiver_authorizer == terms.receiver_authorizer,
            "receiver_authorizer_mismatch",
            f"the receiver authorizer must be {terms.receiver_authorizer}",
        ),
        (
            channel.withdraw_delay_s == terms.withdraw_delay_s,
            "withdraw_delay_mismatch",
            f"the withdraw delay must be {terms.withdraw_delay_s} s",
        ),
        (
            channel.payer_authorizer != ZERO_ADDRESS,
            "voucher_signature",
            "the channel has no payerAuthorizer: this node reads vouchers that an account with a key signs",
        ),
    ]
    for is_right, code, message in wrong:
        if not is_right:
            raise X402RefusedError(code, message)
    if x402_channel_id(terms.domain, channel) != voucher.channel_id:
        raise X402RefusedError("channel_id_mismatch", "the channel's parameters are not those of its id")
    digest = x402_voucher_digest(terms.domain, voucher.channel_id, voucher.max_claimable_wei)
    try:
        check_signer(digest, voucher.signature, channel.payer_authorizer)
    except (BadSignatureError, MalformedError) as error:
        raise X402RefusedError("voucher_signature", f"the voucher's signature is not valid: {error}") from error
