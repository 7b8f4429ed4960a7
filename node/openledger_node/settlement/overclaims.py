"""The payer's look at claims: a node may have claimed of each lane what its receipts say, and nothing else."""

import logging
from typing import Final

from openledger_protocol.errors import UnavailableError
from openledger_protocol.primitives import Address, ChannelId, Digest, Wei

from ..chain.deployment import Deployment
from ..chain.refusals import open_text
from ..ledger.channels import Channel, Lane
from ..ledger.ledger import Ledger

NEVER: Final = Digest("")

log = logging.getLogger(__name__)


class Overclaims:
    """Channels of this payer of which more was claimed than it can explain: nothing more is paid into them.

    A voucher covers a chunk ahead, so a node can take that chunk without a receipt for it. Receipts that have not
    come yet explain what they may charge; those that come later end the alarm.
    """

    def __init__(self, *, ledger: Ledger, deployment: Deployment, payer: Address) -> None:
        self._ledger = ledger
        self._deployment = deployment
        self._payer = payer
        self._explained: dict[ChannelId, Digest] = {}  # the newest claim that receipts explain
        self._over: dict[ChannelId, tuple[Address, Wei]] = {}

    @property
    def alerts(self) -> tuple[str, ...]:
        """Sentences for the operator on nodes that took too much."""
        return tuple(
            f"{node} has claimed {open_text(amount)} of channel {key} without receipts: nothing more is bought from "
            f"it, and `openledger-node channels close {key}` takes the rest back"
            for key, (node, amount) in self._over.items()
        )

    def step(self) -> None:
        """Look at the channels whose nodes have claimed what no receipts have explained yet.

        Raises:
            ChainError: the chain does not answer; the next step looks again.
        """
        for channel in self._ledger.channels.of_payer(self._payer):
            newest = self._newest_claim(channel.config.node)
            if newest != self._explained.get(channel.channel_id, NEVER) and self._look(channel):
                self._explained[channel.channel_id] = newest

    def check(self, node: Address) -> None:
        """Require that a node has taken no more than it can show receipts for.

        Raises:
            UnavailableError: it has.
        """
        for key, (taker, amount) in self._over.items():
            if taker == node:
                raise UnavailableError(
                    f"{node} has claimed {amount} wei of channel {key} without receipts: nothing is bought from it"
                )

    def _newest_claim(self, node: Address) -> Digest:
        claimed = self._ledger.events.find("Claimed", {"node": node})
        return claimed[-1].transaction_hash if claimed else NEVER

    def _look(self, channel: Channel) -> bool:
        """Compare a channel's claims with its receipts; True if receipts explain everything."""
        if channel.is_retired:  # this ledger may have forgotten receipts of it
            return True
        lanes = [self._unexplained_wei(lane) for lane in channel.lanes]
        amount = Wei(sum(over for _, over in lanes))
        if amount and channel.channel_id not in self._over:
            log.error(
                "%s has claimed %d wei of channel %s without receipts",
                channel.config.node,
                amount,
                channel.channel_id,
            )
        if amount:
            self._over[channel.channel_id] = channel.config.node, amount
        else:
            self._over.pop(channel.channel_id, None)
        return not any(unshown for unshown, _ in lanes)

    def _unexplained_wei(self, lane: Lane) -> tuple[Wei, Wei]:
        """The wei claimed of a lane without a receipt so far, and the part of them that none may still explain."""
        claimed = self._deployment.lane_claimed_wei(lane.channel_id, lane.adapter_id)
        # NOTE: the charge is read last. A receipt that comes meanwhile moves its amount from the one to the other.
        coming = self._ledger.purchases.explaining(lane.channel_id, lane.adapter_id)
        channel = self._ledger.channels.find(lane.channel_id)
        charged = channel.lane(lane.adapter_id).charged_wei if channel else 0
        return Wei(max(0, claimed - charged)), Wei(max(0, claimed - charged - coming))
