"""Channels of the ledger's current generation: on those of an earlier one, nothing more is signed.

A machine that was set back to a snapshot has an old ledger that looks like the current one. Only others still know
what it has forgotten: a payer that has a later receipt, or the chain, which has a higher claim.
"""

import logging
from collections.abc import Callable
from typing import Final

import trio

from openledger_protocol.eip712 import Domain, hex_digest
from openledger_protocol.errors import OldChannelError
from openledger_protocol.generation import is_of_generation
from openledger_protocol.payments import ChannelConfig, channel_id, receipt_digest
from openledger_protocol.primitives import Address, Generation, Wei
from openledger_protocol.signatures import recover_address
from openledger_protocol.wire.inference import SignedReceipt

from ..ledger.ledger import Ledger, notice_of

OLD: Final = (
    "the channel was opened for another ledger of this node, which only claims what it has vouchers for: "
    "call for a new bid, and open a channel for the generation in it"
)

log = logging.getLogger(__name__)


class ChannelGenerations:
    """Decides which channels may open streams, and draws a new generation once the ledger proves to be old."""

    def __init__(
        self, ledger: Ledger, *, network: str, domain: Domain, signer: Address, now_ns: Callable[[], int]
    ) -> None:
        self._ledger = ledger
        self._network = network
        self._domain = domain
        self._signer = signer  # of this node's receipts
        self._now_ns = now_ns
        self._renewing = trio.Lock()  # streams that find out at once draw one generation

    @property
    def current(self) -> Generation:
        """The generation that new channels must name."""
        return self._ledger.generations.current.generation

    async def check(self, config: ChannelConfig, last: SignedReceipt | None) -> None:
        """Require a channel of the current generation whose `last` receipt this node remembers, if the payer has one.

        Raises:
            OldChannelError: it is of an earlier generation, or was until now.
            MalformedError: the receipt's signature is malformed.
            LedgerError: the ledger can't be read or written.
        """
        self._check_current(config)
        if last is None:
            return
        is_forgotten = await trio.to_thread.run_sync(self._is_forgotten, config, last)
        if is_forgotten:
            await self._renew(config, f"a payer has receipt {last.receipt.seq} of this node, which is not in it")

    async def check_claimed(self, config: ChannelConfig, *, claimed_wei: Wei, charged_wei: Wei) -> None:
        """Require that the chain shows no more claimed than the ledger remembers as charged.

        Raises:
            OldChannelError: it does, so the ledger was old.
            LedgerError: the ledger can't be written.
        """
        if claimed_wei > charged_wei:
            why = f"the chain has a claim of {claimed_wei} wei on a channel that is charged {charged_wei} wei in it"
            await self._renew(config, why)

    def _check_current(self, config: ChannelConfig) -> None:
        if not is_of_generation(config.salt, self._network, self.current):
            raise OldChannelError(OLD)

    def _is_forgotten(self, config: ChannelConfig, last: SignedReceipt) -> bool:
        """Return True if this node signed a receipt of the channel that its ledger doesn't have."""
        if last.receipt.channel_id != channel_id(config, self._domain):
            return False
        digest = receipt_digest(last.receipt, self._domain)
        if self._ledger.receipts.is_known(hex_digest(digest)):
            return False
        return recover_address(digest, last.signature) == self._signer

    async def _renew(self, config: ChannelConfig, why: str) -> None:
        async with self._renewing:
            self._check_current(config)  # another stream may have found out meanwhile
            renew = self._ledger.generations.renew
            drawn = await trio.to_thread.run_sync(lambda: renew(why, now_ns=self._now_ns()))
        log.warning("%s", notice_of(drawn))
        raise OldChannelError(OLD)
