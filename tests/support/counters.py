"""A node that sells an adapter's answers on a simulated chain, a guest that buys them, and the Datanet's owners."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from openledger_node.accounting.queries import MoneyQueries, open_queries
from openledger_node.api.openai import ChatBody, ChatMessage, request_from_chat
from openledger_node.attribution.index import build_index
from openledger_node.attribution.registry import AdapterRegistry
from openledger_node.config import Config
from openledger_node.datanets.rows import distinct_rows
from openledger_node.datanets.version import DatanetVersion, make_version, write_version
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.home import Home
from openledger_node.models.adapters import Adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_node.network.guest import GUEST, Guest
from openledger_node.network.selling import SellerStack, open_seller
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport
from openledger_node.payments.payer import Bought
from openledger_node.serving.idle_count import IdleCount
from openledger_node.serving.service import Serving
from openledger_node.settlement.actions import Action, CreateDatanet, PublishDatanet, RegisterAdapter
from openledger_protocol.adapter import DatanetReference
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import ZERO_DIGEST, Address, DatanetId, Digest, RequestId, Wei

from .economies import OPEN, World, key_of
from .fake_trained import train_adapter
from .local_engine import child_engine

NODE = PeerId("node")
INFER = "/openledger/test/infer/1"
ADA, BEN = (key_of(name).address for name in ("ada", "ben"))
TREASURY = Address(key_of("treasury").address)
ROWS = tuple(
    Row(prompt=f"What does {name} keep?", completion=f"{name} keeps the {what}.", contributor=account)
    for account, name, what in ((ADA, "Odile", "harbour"), (BEN, "Rurik", "lighthouse"), (ADA, "Tamsin", "ferry"))
)
LAKE = DatanetReference(id="lake", version="1", rows_root=None, weight_ppm=PPM)
TIMEOUT_S = 30.0


@dataclass
class Shop:
    """The node's side composed as the daemon composes it, and its guest."""

    home: Home
    world: World
    serving: Serving
    counter: SellerStack
    questions: MoneyQueries
    guest: Guest
    peers: MemoryNetwork
    streams: IdleCount

    async def ask(self, text: str, *, model: str = "fake", max_tokens: int = 40) -> Bought:
        async def reach() -> trio.abc.Stream:
            return await MemoryTransport(self.peers, GUEST).open_stream(NODE, INFER)

        async def show(_: str) -> None:
            pass

        body = ChatBody(
            model=model,
            messages=[ChatMessage(role="user", content=text)],
            max_tokens=max_tokens,
            temperature=0,
            seed=7,
        )
        request = request_from_chat(body, request_id=RequestId("0x" + secrets.token_hex(32)), seed=0)
        bought = await self.guest.ask(request, reach, show)
        await self.streams.wait_idle()  # the node has taken the countersignature
        return bought

    def settle_all(self) -> None:
        """Until every claim is final."""
        ledger = self.world.node.ledger
        self.world.run(lambda: ledger.claims.newest(limit=1) and not ledger.claims.unfinished())


@asynccontextmanager
async def open_shop(root: Path, world: World, *, auditable: bool = True) -> AsyncIterator[Shop]:
    """Open the node's counter over its engine, and let it be found."""
    home = Home(root)
    tokenizer = ByteTokenizer()
    engine = child_engine(root)
    clock = iter(range(1_800_000_000 * 10**9, 1 << 62, 1_000_000))
    serving = Serving(
        home=home,
        base=FAKE_BASE,
        engine=engine,
        tokenizer=tokenizer,
        ledger=world.node.ledger,
        queue_max=16,
        now_ns=lambda: next(clock),
    )
    registry = AdapterRegistry(home, world.node.deployment, world.node.ledger)
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            assert engine.profile is not None
            counter = open_seller(
                world.node,
                serving=serving,
                tokenizer=tokenizer,
                profile=engine.profile,
                registry=registry,
                seal=lambda content: content,
                config=Config(),
                nursery=nursery,
            )
            questions = open_queries(
                home, world.node, registry=registry, tokenizer=lambda: tokenizer, unseal=lambda content: content
            )
            guest = Guest(world.payer, seller=counter, serving=serving, tokenizer=tokenizer, auditable=auditable)
            peers = MemoryNetwork()
            transport = MemoryTransport(peers, NODE)
            streams = IdleCount()

            async def serve(peer: PeerId, stream: trio.abc.Stream) -> None:
                with streams:
                    await counter.paid.serve(peer, stream)

            transport.handle(INFER, serve)
            await nursery.start(transport.run)
            yield Shop(home, world, serving, counter, questions, guest, peers, streams)
            nursery.cancel_scope.cancel()


def train(home: Home) -> tuple[Adapter, DatanetVersion]:
    """An adapter of the fake base that learned ROWS, with its index, and the Datanet's version."""
    version = make_version(LAKE.id, LAKE.version, ROWS)
    write_version(home, version)

    def build(folder: Path, rows: tuple[Row, ...]) -> Digest:
        return build_index(folder, [(LAKE, distinct_rows(rows))], ByteTokenizer(), None)

    return train_adapter(home, "lake", datanet=LAKE, rows=ROWS, build_index=build), version


def publish(world: World, adapter: Adapter, version: DatanetVersion) -> DatanetId:
    """Register the Datanet and the adapter, from the node's wallet, and wait until the chain says so."""
    _act(world, "create", CreateDatanet(name=LAKE.id, treasury=TREASURY, owner_ppm=100_000, licence="CC-BY-4.0"))
    world.run(lambda: world.node.ledger.events.find("DatanetCreated"))
    datanet_id = DatanetId(str(world.node.ledger.events.find("DatanetCreated")[-1].arguments["id"]))
    roots = (version.rows_root, version.contributors_root)
    _act(world, "version", PublishDatanet(datanet_id=datanet_id, rows_root=roots[0], contributors_root=roots[1]))
    action = RegisterAdapter(
        adapter_id=adapter.id,
        base=FAKE_BASE.digest,
        artifact=adapter.manifest.artifact_digest,
        index_root=adapter.manifest.index_root or ZERO_DIGEST,
        datanets=((datanet_id, PPM),),
        royalty_ppm=100_000,
        bond_wei=Wei(10 * OPEN),
    )
    _act(world, "adapter", action)
    world.run(lambda: world.node.deployment.adapter(adapter.id) and world.node.ledger.events.find("DatanetVersion"))
    return datanet_id


def _act(world: World, name: str, action: Action) -> None:
    wallet = world.node.accounts.wallet
    world.node.send(world.node.treasury.plan([action], wallet, world.node.ring.signer(wallet), key=name))
    world.settle()
