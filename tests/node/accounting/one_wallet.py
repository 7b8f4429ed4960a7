"""A wallet in every role: node, adapter owner, Datanet owner and treasury, contributor, payer and relay.

A second node sells the wallet's adapter, too: to the wallet itself. So the wallet earns in claims of both nodes.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from support.chain_world.contract_world import OPEN
from support.chain_world.world import World, open_world
from support.contributors import ADA
from support.signed import digest

from openledger_node.settlement.actions import CreateDatanet, OpenChannel, WithdrawRewards
from openledger_node.settlement.open import prepare_development
from openledger_node.settlement.session import NetworkSession
from openledger_protocol.adapter import registered_id
from openledger_protocol.attribution import Share
from openledger_protocol.datanet import datanet_id
from openledger_protocol.payments import ChannelConfig
from openledger_protocol.payouts import CreditRole
from openledger_protocol.primitives import (
    BASE_ONLY,
    ZERO_ADDRESS,
    AdapterId,
    Address,
    ChannelId,
    DatanetId,
    Wei,
)

MANIFEST = digest("9")

ODD: Final = 123_456_789_012_345_677
"""An amount that no share divides."""


@dataclass(kw_only=True)
class OneWallet:
    """The world, and what the wallet has registered."""

    world: World
    datanet_id: DatanetId
    adapter_id: AdapterId
    sold: ChannelId  # the other node pays the wallet
    bought: ChannelId  # the wallet pays the other node

    @property
    def wallet(self) -> Address:
        return self.world.node.accounts.wallet

    def sell(self, amount_wei: int, *, is_base: bool = False) -> None:
        """An answer of the wallet's node, which the other one pays."""
        self._answer(self.world.node, self.world.payer, self.sold, amount_wei, is_base=is_base)

    def buy(self, amount_wei: int, *, is_base: bool = False) -> None:
        """An answer of the other node, which the wallet pays."""
        self._answer(self.world.payer, self.world.node, self.bought, amount_wei, is_base=is_base)

    def settle(self) -> None:
        """Settle until no node has anything that is not final."""
        sides = (self.world.node, self.world.payer)
        self.world.run(lambda: all(_is_settled(side) for side in sides))

    def live(self) -> None:
        """Earn, take the credits, and earn and spend in every role."""
        self.sell(ODD)
        self.settle()
        self.world.act(WithdrawRewards(accounts=(self.wallet,), amount_wei=Wei(self.world.balance(self.wallet))))
        events = self.world.node.ledger.events
        self.world.run(lambda: events.find("Withdrawn") and not self.world.node.ledger.outbox.unfinished())
        self.sell(ODD, is_base=True), self.buy(ODD), self.buy(ODD // 3, is_base=True)
        self.settle()

    def credits(self) -> Counter[tuple[CreditRole, Address]]:
        """The credits of claims to the wallet that the chain itself tells of, by role and by the claim's node."""
        sums: Counter[tuple[CreditRole, Address]] = Counter()
        for event in self.world.chain.events("AttributionRewards"):
            given: Any = event.arguments
            if event.name == "Credited" and given["account"] == self.wallet:
                sums[CreditRole(int(given["role"])), Address(given["node"])] += int(given["amount"])
        return sums

    def shares(self) -> tuple[Share, ...]:
        """A third is the wallet's own, and a quarter matched no row."""
        parts = {self.wallet: 333_333, ADA: 416_667, ZERO_ADDRESS: 250_000}
        ranked = sorted(parts.items(), key=lambda each: each[0].lower())
        return tuple(Share(datanet_id=self.datanet_id, account=account, ppm=ppm) for account, ppm in ranked)

    def _answer(
        self, seller: NetworkSession, buyer: NetworkSession, channel: ChannelId, amount_wei: int, *, is_base: bool
    ) -> None:
        self.world.earn(
            channel,
            amount_wei,
            seller=seller,
            buyer=buyer,
            issued_at_s=self.world.now_s,
            adapter_id=BASE_ONLY if is_base else self.adapter_id,
            shares=() if is_base else self.shares(),
        )


@contextmanager
def open_one_wallet(root: Path) -> Iterator[OneWallet]:
    """Bond both nodes, register the wallet's Datanet and adapter, and open a channel in each direction.

    The channels are opened in each world anew, because a copied ledger signs on no earlier ones.
    """
    with open_world(root, begin=_begin) as world:
        wallet = world.node.accounts.wallet
        yield OneWallet(
            world=world,
            datanet_id=datanet_id(wallet, "lake"),
            adapter_id=registered_id(wallet, MANIFEST),
            sold=_open(world, world.payer, world.node),
            bought=_open(world, world.node, world.payer),
        )


def _begin(world: World) -> None:
    node, payer = world.node, world.payer
    prepare_development(payer)
    world.run(lambda: payer.deployment.is_signer(payer.accounts.wallet, payer.accounts.signer))
    wallet = node.accounts.wallet
    world.act(CreateDatanet(name="lake", treasury=wallet, owner_ppm=100_000, licence="CC-BY-4.0"))
    found = datanet_id(wallet, "lake")
    world.run(lambda: node.ledger.events.find("DatanetCreated", {"id": found}))
    world.register(MANIFEST, found)


def _open(world: World, buyer: NetworkSession, seller: NetworkSession) -> ChannelId:
    config: ChannelConfig = world.new_config(
        payer=buyer.accounts.wallet, authorizer=buyer.accounts.authorizer, node=seller.accounts.wallet
    )
    key = world.id_of(config)
    for side in (buyer, seller):
        side.ledger.channels.ensure(key, config, now_ns=1)
    world.act(OpenChannel(config=config, amount_wei=Wei(50 * OPEN)), by=buyer)
    final, channel = world.chain.client.finalized_number, buyer.deployment.channel
    world.run(lambda: channel(key, block_number=final()).deposit_wei == 50 * OPEN)
    return key


def _is_settled(side: NetworkSession) -> bool:
    node = side.accounts.wallet
    return not side.ledger.receipts.has_unclaimed(node) and not side.ledger.claims.unfinished()
