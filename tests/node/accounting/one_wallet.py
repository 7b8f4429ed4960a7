"""A wallet in every role: node, adapter owner, Datanet owner and treasury, contributor, staker, payer and relay.

A second node sells the wallet's adapter, too: to the wallet itself. So the wallet earns in claims of both nodes. The
wallet posts a bond at the second node's Datanet and loses a part of it. Each node sends a withdrawal for a fee: the
wallet one of Ada's, and the second node one of the wallet's.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from support.answered import completion
from support.chain_world.contract_world import OPEN
from support.chain_world.world import World, open_world
from support.contributors import ADA, TREASURY
from support.rows import job_of
from support.signed import WORK, digest

from openledger_node.chain.bonds import ContributorBonds
from openledger_node.ledger.receipts import ReceiptRow
from openledger_node.settlement.actions import Action, CreateDatanet, OpenChannel, TakeStakerRewards, WithdrawRewards
from openledger_node.settlement.bond_actions import ForfeitBond, PostBond
from openledger_node.settlement.open import prepare_development
from openledger_node.settlement.session import NetworkSession
from openledger_protocol.adapter import registered_id
from openledger_protocol.attribution import Share
from openledger_protocol.bond import reason_hash
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import datanet_id
from openledger_protocol.offer import RowOffer, offer_digest
from openledger_protocol.payments import ChannelConfig
from openledger_protocol.payouts import CreditRole
from openledger_protocol.primitives import (
    BASE_ONLY,
    ZERO_ADDRESS,
    AdapterId,
    Address,
    ChannelId,
    DatanetId,
    RequestId,
    Wei,
)

MANIFEST = digest("9")

ODD: Final = 123_456_789_012_345_677
"""An amount that no share divides."""

WITHDRAWN_WEI: Final = Wei(9)
BOND_WEI, FORFEITED_WEI = Wei(ODD), Wei(ODD // 3)
ROYALTY_PPM: Final = 100_000


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

    def sell(self, amount_wei: int, *, is_base: bool = False, **flags: bool) -> ReceiptRow:
        """An answer of the wallet's node, which the other one pays."""
        return self._answer(self.world.node, self.world.payer, self.sold, amount_wei, is_base=is_base, **flags)

    def buy(self, amount_wei: int, *, is_base: bool = False) -> ReceiptRow:
        """An answer of the other node, which the wallet pays."""
        return self._answer(self.world.payer, self.world.node, self.bought, amount_wei, is_base=is_base)

    def settle(self) -> None:
        """Settle until no node has anything that is not final."""
        sides = (self.world.node, self.world.payer)
        self.world.run(lambda: all(_is_settled(side) for side in sides))

    def live(self) -> None:
        """Earn and spend in every role, settle, take some of the credits, and lose a part of a bond."""
        self.sell(ODD), self.sell(ODD, is_base=True), self.buy(ODD), self.buy(ODD // 3, is_base=True)
        self.settle()
        self.world.act(WithdrawRewards(amount_wei=WITHDRAWN_WEI, to=self.wallet))
        self.world.act(TakeStakerRewards())
        events = self.world.node.ledger.events
        self.world.run(lambda: events.find("RewardsPaid") and not self.world.node.ledger.outbox.unfinished())
        self.lose_bond()

    def lose_bond(self) -> None:
        """Post a bond at the other node's Datanet, which forfeits a part of it for a batch that the wallet signed."""
        node, payer = self.world.node, self.world.payer
        terms = {"treasury": TREASURY, "owner_ppm": 0, "licence": "CC-BY-4.0"}
        self._do(CreateDatanet(name="pond", **terms), payer)  # type: ignore[arg-type]
        deciders = ContributorBonds(node.deployment).deciders(self.pond)
        self._do(PostBond(datanet_id=self.pond, account=self.wallet, amount_wei=BOND_WEI, deciders=deciders), node)
        offer = RowOffer(
            chain_id=node.network.chain_id,
            contract=node.network.contracts["DatanetRegistry"],
            datanet_id=self.pond,
            account=self.wallet,
            licence="CC-BY-4.0",
            rows=(digest("7"),),
        )
        signature = "0x" + node.ring.sign(self.wallet, offer_digest(offer)).hex()
        signed, reason = replace(offer, signature=signature), reason_hash("copied from a site")
        self._do(ForfeitBond(offer=signed, amount_max_wei=FORFEITED_WEI, reason=reason), payer)

    @property
    def pond(self) -> DatanetId:
        """The other node's Datanet."""
        return datanet_id(self.world.payer.accounts.wallet, "pond")

    def _do(self, action: Action, by: NetworkSession) -> None:
        self.world.act(action, by=by)
        self.world.run(lambda: not by.ledger.outbox.unfinished())

    def credits(self) -> Counter[tuple[CreditRole, Address]]:
        """The credits of claims to the wallet that the chain itself tells of, by role and by the claim's node."""
        sums: Counter[tuple[CreditRole, Address]] = Counter()
        for event in self.world.chain.events("AttributionRewards"):
            given: Any = event.arguments
            if event.name == "Credited" and given["account"] == self.wallet:
                sums[CreditRole(int(given["role"])), Address(given["node"])] += int(given["amount"])
        return sums

    def figures(self) -> dict[str, int]:
        """The figures of the wallet's books, without gas, as the chain has them once all is final."""
        read, credits, wallet = self.world.chain.read, self.credits(), self.wallet
        of_role = {role: sum(wei for (each, _), wei in credits.items() if each is role) for role in CreditRole}
        royalties = 2 * (ODD * ROYALTY_PPM // PPM)
        stake = read("NodeStaking", "nodeOf", wallet)
        bought = read("PaymentChannels", "channelOf", self.bought)
        return {
            "node": of_role[CreditRole.NODE],
            "royalty": royalties,
            "datanet_owner": of_role[CreditRole.OWNER] - royalties,
            "contributor": of_role[CreditRole.CONTRIBUTOR],
            "treasury": of_role[CreditRole.TREASURY],
            "stake": stake["rewards_"] + self._told("NodeStaking", "RewardsPaid", node=wallet),
            "spent": bought["claimed"],
            "lost": self._told("DatanetRegistry", "BondForfeited", account=wallet),
            "withdrawn": self._told("AttributionRewards", "Withdrawn", account=wallet),
            "balance": read("AttributionRewards", "balanceOf", wallet),
            "staked": stake["bonded"],
            "adapter bonds": read("ModelRegistry", "adapterOf", self.adapter_id)["bond"],
            "bonds": read("DatanetRegistry", "bondOf", self.pond, wallet)["held"],
            "channel deposits": bought["deposit"] - bought["claimed"],
        }

    def _told(self, contract: str, name: str, **arguments: Address) -> int:
        events: list[Any] = self.world.chain.events(contract)
        return sum(
            int(event.arguments["amount"])
            for event in events
            if event.name == name and arguments.items() <= event.arguments.items()
        )

    def shares(self) -> tuple[Share, ...]:
        """A third is the wallet's own, and a quarter matched no row."""
        parts = {self.wallet: 333_333, ADA: 416_667, ZERO_ADDRESS: 250_000}
        ranked = sorted(parts.items(), key=lambda each: each[0].lower())
        return tuple(Share(datanet_id=self.datanet_id, account=account, ppm=ppm) for account, ppm in ranked)

    def _answer(
        self,
        seller: NetworkSession,
        buyer: NetworkSession,
        channel_id: ChannelId,
        amount_wei: int,
        *,
        is_base: bool,
        is_countersigned: bool = True,
    ) -> ReceiptRow:
        row = self.world.earn(
            channel_id,
            amount_wei,
            seller=seller,
            buyer=buyer,
            issued_at_s=self.world.now_s,
            adapter_id=BASE_ONLY if is_base else self.adapter_id,
            shares=() if is_base else self.shares(),
            is_countersigned=is_countersigned,
        )
        self._note_job(seller, row.receipt.work.request_id)
        return row

    def _note_job(self, seller: NetworkSession, request_id: RequestId) -> None:
        """Note the job of an answer."""
        ns, jobs = self.world.now_s * 10**9, seller.ledger.jobs
        jobs.start(job_of(request_id, received_ns=ns, tokens_in=WORK.tokens_in))
        done = completion(request_id=request_id, tokens_in=WORK.tokens_in, tokens_out=WORK.tokens_out)
        jobs.complete(done, first_token_ns=ns, ended_ns=ns + 1)


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
