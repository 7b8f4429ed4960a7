"""A wallet in every role: node, adapter owner, Datanet owner and treasury, contributor, staker and payer.

A second node sells the wallet's adapter, too: to the wallet itself. So the wallet earns in claims of both nodes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from openledger_node.ledger.receipts import Draft, ReceiptRow
from openledger_node.settlement.actions import CreateDatanet, OpenChannel
from openledger_node.settlement.open import prepare_development
from openledger_node.settlement.session import NetworkSession
from openledger_protocol.attribution import Share, shares_hash
from openledger_protocol.datanet import datanet_id
from openledger_protocol.eip712 import digest_word, hex_digest
from openledger_protocol.payments import (
    ChannelConfig,
    Receipt,
    SignedVoucher,
    Voucher,
    receipt_digest,
    voucher_digest,
)
from openledger_protocol.primitives import (
    BASE_ONLY,
    ZERO_ADDRESS,
    ZERO_DIGEST,
    AdapterId,
    Address,
    ChannelId,
    DatanetId,
    RequestId,
    Wei,
)

from ..contributors import ADA
from ..signed import WORK, digest
from .contract_world import OPEN
from .kept import KeptChain, KeptLedger, keep_chain, keep_ledger
from .world import SIDES, World, open_copy, open_world

UNOPENED = ChannelId(ZERO_DIGEST)


@dataclass(kw_only=True)
class OneWallet:
    """The world, and what the wallet has registered."""

    world: World
    datanet_id: DatanetId
    adapter_id: AdapterId
    sold: ChannelId = UNOPENED  # the other node pays the wallet
    bought: ChannelId = UNOPENED  # the wallet pays the other node
    num_answers: int = 0

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
        self.num_answers += 1
        adapter_id = BASE_ONLY if is_base else self.adapter_id
        shares = () if is_base else self.shares()
        world, request_id = self.world, RequestId(f"0x{self.num_answers:064x}")
        channel = seller.ledger.channels.find(channel_id)
        assert channel is not None
        ceiling = Wei(channel.lane(adapter_id).charged_wei + amount_wei)
        voucher = Voucher(channel_id=channel_id, adapter_id=adapter_id, max_claimable_wei=ceiling)
        signature = buyer.ring.sign(buyer.accounts.authorizer, voucher_digest(voucher, world.payments))
        for side in (seller, buyer):
            side.ledger.channels.raise_ceiling(SignedVoucher(voucher=voucher, signature=signature))

        def build(seq: int, cumulative_wei: Wei) -> Receipt:
            return Receipt(
                channel_id=channel_id,
                seq=seq,
                issued_at_s=world.now_s,
                adapter_id=adapter_id,
                amount_wei=Wei(amount_wei),
                cumulative_wei=cumulative_wei,
                algo_id=1,
                shares_hash=shares_hash(shares),
                work=replace(WORK, request_id=request_id),
            )

        draft = Draft(
            build=build,
            digest=lambda receipt: hex_digest(receipt_digest(receipt, world.payments)),
            channel_id=channel_id,
            adapter_id=adapter_id,
            amount_wei=Wei(amount_wei),
            shares=shares,
        )
        kept = seller.ledger.receipts.commit(draft)
        word = digest_word(kept.digest)
        signed = replace(kept, signature=seller.ring.sign(seller.accounts.signer, word))
        assert signed.signature is not None
        seller.ledger.receipts.sign(kept.digest, signed.signature)
        if is_countersigned:
            signed = replace(signed, countersignature=buyer.ring.sign(buyer.accounts.authorizer, word))
            assert signed.countersignature is not None
            seller.ledger.receipts.countersign(kept.digest, signed.countersignature)
        buyer.ledger.receipts.insert(signed)
        return signed


@contextmanager
def open_one_wallet(root: Path) -> Iterator[OneWallet]:
    """Bond both nodes, register the wallet's Datanet and adapter, and open a channel in each direction.

    Each world is a copy of the first one. Its channels are its own, because a copied ledger signs on no earlier ones.
    """
    kept = _kept()
    for side, ledger in kept.ledgers.items():
        ledger.write(root / f"{side}.db")
    chain = replace(kept.one.world.chain, client=kept.rows.copy(), contracts=dict(kept.one.world.chain.contracts))
    with open_copy(root, chain, {}) as world:
        world.num_actions = kept.one.world.num_actions
        world.configs = dict(kept.one.world.configs)
        one = replace(kept.one, world=world)
        one.sold = _open(world, world.payer, world.node)
        one.bought = _open(world, world.node, world.payer)
        yield one


@dataclass(frozen=True, kw_only=True)
class _Kept:
    one: OneWallet  # closed
    rows: KeptChain
    ledgers: dict[str, KeptLedger]


@cache
def _kept() -> _Kept:
    with TemporaryDirectory() as folder:
        with open_world(Path(folder)) as world:
            one = _prepared(world)
            rows = keep_chain(world.chain.client)
        return _Kept(one=one, rows=rows, ledgers={side: keep_ledger(Path(folder) / f"{side}.db") for side in SIDES})


def _prepared(world: World) -> OneWallet:
    node, payer = world.node, world.payer
    prepare_development(payer)
    world.run(lambda: payer.deployment.is_signer(payer.accounts.wallet, payer.accounts.signer))
    wallet = node.accounts.wallet
    world.act(CreateDatanet(name="lake", treasury=wallet, owner_ppm=100_000, licence="CC-BY-4.0"))
    found = datanet_id(wallet, "lake")
    world.run(lambda: node.ledger.events.find("DatanetCreated", {"id": found}))
    return OneWallet(
        world=world,
        datanet_id=found,
        adapter_id=world.register(digest("9"), found),
    )


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
