"""Two nodes' sessions on a chain with the real contracts, the one paying the other, and receipts as they come."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from openledger_node.config import Config
from openledger_node.keystore import key_from_private
from openledger_node.ledger.ledger import open_ledger
from openledger_node.ledger.receipts import Draft, ReceiptRow
from openledger_node.network_file import Network
from openledger_node.settlement.actions import Action, CreateDatanet, OpenChannel, RegisterAdapter
from openledger_node.settlement.open import prepare_development
from openledger_node.settlement.session import KeyRing, NetworkSession, NodeAccounts
from openledger_protocol.adapter import registered_id
from openledger_protocol.attribution import Share
from openledger_protocol.constants import PPM
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
from openledger_protocol.primitives import BASE_ONLY, AdapterId, ChannelId, DatanetId, Digest, RequestId, Wei
from openledger_protocol.registry import RegistryEntry
from openledger_protocol.rules import USUAL_RULES

from ..contributors import TREASURY
from ..signed import AUTHORIZER_KEY, NODE_KEY, PAYER_KEY, SIGNER_KEY, WORK, digest, plain_receipt
from .contract_world import OPEN, ContractWorld
from .deployed import DeployedChain, deployed_chain
from .kept import copied_chain, keep_chain, keep_ledger

KEYS = {
    "node": (NODE_KEY, SIGNER_KEY, b"\x05" * 32),
    "payer": (PAYER_KEY, b"\x06" * 32, AUTHORIZER_KEY),
    "watcher": (b"\x07" * 32, b"\x08" * 32, b"\x09" * 32),
}
"""The wallet, signer and authorizer of each session; a world opens the first two."""

STEPS_MAX = 200


@dataclass(kw_only=True)
class World(ContractWorld):
    """A chain, a node's session on it, and a payer's."""

    node: NetworkSession
    payer: NetworkSession
    num_receipts: int = 0
    num_actions: int = 0
    configs: dict[ChannelId, ChannelConfig] = field(default_factory=dict)

    def settle(self, seconds: int = 1) -> None:
        """Let both sides read the chain and act, then mine a block."""
        self.node.step()
        self.payer.step()
        self.wait(seconds)

    def run(self, is_reached: Callable[[], object], *, seconds: int = 1) -> None:
        """Settle until something is so."""
        for _ in range(STEPS_MAX):
            if is_reached():
                return
            self.settle(seconds)
        raise AssertionError("it never came to be")

    def act(self, action: Action, *, by: NetworkSession | None = None) -> None:
        """Have the node or the payer sign and send what an action takes."""
        side = by or self.node
        wallet = side.accounts.wallet
        self.num_actions += 1
        steps = side.treasury.plan([action], wallet, side.ring.signer(wallet), key=f"action {self.num_actions}")
        side.send(steps)

    def open_channel(self, amount_wei: int = 10 * OPEN, **changes: Any) -> ChannelId:
        """Have the payer's session open a channel, and wait until it is final."""
        config = self.new_config(**changes)
        key = self.id_of(config)
        self.configs[key] = config
        for side in (self.node, self.payer):
            side.ledger.channels.ensure(key, config, now_ns=1)
        self.act(OpenChannel(config=config, amount_wei=Wei(amount_wei)), by=self.payer)
        final, channel = self.chain.client.finalized_number, self.node.deployment.channel
        self.run(lambda: channel(key, block_number=final()).deposit_wei == amount_wei)
        return key

    def create_datanet(self, rules: tuple[int, ...] = USUAL_RULES) -> DatanetId:
        """Register a Datanet of the node's."""
        terms = {"treasury": TREASURY, "owner_ppm": 100_000, "licence": "CC-BY-4.0"}
        self.act(CreateDatanet(name="lake", rules=rules, **terms))  # type: ignore[arg-type]
        found = datanet_id(self.node.accounts.wallet, "lake")
        self.run(lambda: self.node.ledger.events.find("DatanetCreated", {"id": found}))
        return found

    def register(self, manifest_id: Digest, datanet_id: DatanetId, **described: Any) -> AdapterId:
        """Register an adapter of the node's that one Datanet has taught; `described` are its digests."""
        owner = self.node.accounts.wallet
        digests = {"base": digest("1"), "artifact": digest("2"), "index_root": digest("3"), **described}
        entry = RegistryEntry(owner=owner, datanets=((datanet_id, PPM),), **digests)
        self.act(RegisterAdapter(manifest_id=manifest_id, entry=entry, royalty_ppm=100_000, bond_wei=Wei(10 * OPEN)))
        adapter_id = registered_id(owner, manifest_id)
        self.run(lambda: self.node.deployment.entry(adapter_id))
        return adapter_id

    def wait_until_mined(self, sent: list[dict[str, Any]], *, by: NetworkSession | None = None) -> None:
        """Settle until the node or the payer has each transaction that it sent in a block."""
        outbox = (by or self.node).ledger.outbox
        self.run(lambda: all(outbox.find(each["key"]).block_number for each in sent))  # type: ignore[union-attr]
        found = [outbox.find(each["key"]) for each in sent]
        assert {each.state for each in found if each} <= {"mined", "final"}, found

    def earn(
        self,
        channel: ChannelId,
        amount_wei: int,
        *,
        seller: NetworkSession | None = None,
        buyer: NetworkSession | None = None,
        issued_at_s: int | None = None,
        adapter_id: AdapterId = BASE_ONLY,
        shares: tuple[Share, ...] = (),
        is_countersigned: bool = True,
    ) -> ReceiptRow:
        """A receipt as serving makes one: covered by a voucher, committed, signed and countersigned.

        A `buyer` that is named has the voucher and the receipt in its ledger, too.
        """
        self.num_receipts += 1
        number, of_node, payer = self.num_receipts, seller or self.node, buyer or self.payer
        ledger = of_node.ledger
        row = ledger.channels.find(channel)
        assert row is not None
        ceiling = Wei(row.lane(adapter_id).charged_wei + amount_wei)
        voucher = Voucher(channel_id=channel, adapter_id=adapter_id, max_claimable_wei=ceiling)
        paid = SignedVoucher(
            voucher=voucher,
            signature=payer.ring.sign(payer.accounts.authorizer, voucher_digest(voucher, self.payments)),
        )
        for side in (of_node, buyer):
            if side:
                side.ledger.channels.raise_ceiling(paid)

        def build(seq: int, cumulative_wei: Wei) -> Receipt:
            return plain_receipt(
                amount_wei,
                shares,
                channel_id=channel,
                seq=seq,
                issued_at_s=number if issued_at_s is None else issued_at_s,
                adapter_id=adapter_id,
                work=replace(WORK, request_id=RequestId(f"0x{number:064x}")),
                cumulative_wei=cumulative_wei,
            )

        draft = Draft(
            build=build,
            digest=lambda receipt: hex_digest(receipt_digest(receipt, self.payments)),
            channel_id=channel,
            adapter_id=adapter_id,
            amount_wei=Wei(amount_wei),
            shares=shares,
        )
        kept = ledger.receipts.commit(draft)
        word = digest_word(kept.digest)
        signature = of_node.ring.sign(of_node.accounts.signer, word)
        ledger.receipts.sign(kept.digest, signature)
        signed = replace(kept, signature=signature)
        if is_countersigned:
            countersignature = payer.ring.sign(payer.accounts.authorizer, word)
            ledger.receipts.countersign(kept.digest, countersignature)
            signed = replace(signed, countersignature=countersignature)
        if buyer:
            buyer.ledger.receipts.insert(signed)
        return signed


SIDES = ("node", "payer")


@contextmanager
def open_world(
    root: Path,
    client: Any = None,
    *,
    options: Mapping[str, Any] | None = None,
    begin: Callable[[World], object] | None = None,
    **settings: Any,
) -> Iterator[World]:
    """A chain with a bonded node and a payer that holds OPEN; simulated, or the one behind a tamed client.

    `options` are those of both sessions, and `settings` those of the deployment; `begin` does more before the test
    does. A simulated world is a copy of the first one that began so, its ledgers included.
    """
    if client is None:
        kept = _kept(begin, tuple(sorted(settings.items())))
        chain = replace(kept.chain, client=copied_chain(kept.rows), contracts=dict(kept.chain.contracts))
        for side, ledger in kept.ledgers.items():
            (root / f"{side}.db").write_bytes(ledger)
        with _open_sides(root, chain, options or {}) as world:
            world.num_actions = kept.num_actions
            yield world
    else:
        with _open_sides(root, deployed_chain(client, **settings), options or {}) as world:
            _prepare(world)
            if begin:
                begin(world)
            yield world


@contextmanager
def _open_sides(root: Path, chain: DeployedChain, options: Mapping[str, Any]) -> Iterator[World]:
    """Open both sessions over the ledgers in a folder, as they are."""
    node, payer = (open_session(root, chain.client, chain.network, name, **options) for name in SIDES)
    try:
        yield World(chain=chain, node=node, payer=payer)
    finally:
        for side in (node, payer):
            side.ledger.close()


def _prepare(world: World) -> None:
    """Fund both sides, and bond the node."""
    for side in (world.node, world.payer):
        world.chain.fund(side.accounts.wallet, coin_wei=OPEN, open_wei=1_000 * OPEN)
        world.chain.fund(side.accounts.signer, coin_wei=OPEN)
    node = world.node
    prepare_development(node)
    world.run(lambda: node.deployment.is_signer(node.accounts.wallet, node.accounts.signer))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    rows: bytes
    chain: DeployedChain  # its client is closed
    ledgers: Mapping[str, bytes]
    num_actions: int


@cache
def _kept(begin: Callable[[World], object] | None, settings: tuple[tuple[str, Any], ...]) -> _Kept:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        given = dict(settings)
        opened = open_world(root, **given) if begin else _open_sides(root, deployed_chain(**given), {})
        with opened as world, closing(world.chain.client) as client:
            (begin or _prepare)(world)
            rows = keep_chain(client)
        ledgers = {side: keep_ledger(root / f"{side}.db") for side in SIDES}
        return _Kept(rows=rows, chain=world.chain, ledgers=ledgers, num_actions=world.num_actions)


def open_session(
    root: Path, client: Any, network: Network, name: str, *, config: Config | None = None, **options: Any
) -> NetworkSession:
    """The session of one of `KEYS`, over a ledger of its own."""
    wallet, signer, authorizer = keys = [key_from_private(key) for key in KEYS[name]]
    ring = KeyRing()
    ring.add(*keys)
    return NetworkSession(
        network=network,
        client=client,
        ledger=open_ledger(root / f"{name}.db"),
        accounts=NodeAccounts(wallet=wallet.address, signer=signer.address, authorizer=authorizer.address),
        ring=ring,
        config=config or Config(),
        **options,
    )
