"""A node that sells answers and is paid on the chain, with a guest that buys them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from openledger_node.accounting.queries import MoneyQueries, open_queries
from openledger_node.api.chat import request_from_chat
from openledger_node.api.schemas import ChatBody, ChatMessage
from openledger_node.attribution.registry import AdapterRegistry
from openledger_node.config import Config
from openledger_node.datanets.version import make_version, write_version
from openledger_node.engine.tokenizer import open_tokenizer
from openledger_node.home import Home
from openledger_node.models.adapters import Adapter
from openledger_node.models.bases import FAKE_BASE, Base
from openledger_node.models.sampling_defaults import NEUTRAL
from openledger_node.network.guest import GUEST, Guest
from openledger_node.network.selling import SellerStack, open_seller
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport
from openledger_node.payments.kept_texts import open_texts
from openledger_node.payments.payer import Bought
from openledger_node.serving.idle_count import IdleCount
from openledger_node.serving.replaying import EngineReplays
from openledger_node.serving.service import Serving
from openledger_node.settlement.actions import PublishDatanet
from openledger_protocol.adapter import manifest_id
from openledger_protocol.primitives import ZERO_DIGEST, DatanetId
from openledger_protocol.rules import USUAL_RULES

from ..contributors import ROWS
from ..fake_trained import train_indexed_adapter
from ..local_engine import LocalEngine
from .world import World

NODE = PeerId("node")
INFER = "/openledger/test/infer/1"
VERSION = make_version("lake", "1", ROWS)
LAKE = VERSION.label
TIMEOUT_S = 120.0


@dataclass
class Seller:
    """The world's node, which sells as the daemon does, and its guest."""

    home: Home
    world: World
    stack: SellerStack
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
        request = request_from_chat(body, seed=0, defaults=NEUTRAL)
        bought = await self.guest.ask(request, reach, show)
        await self.streams.wait_idle()  # the node has taken the countersignature
        return bought

    def settle_all(self) -> None:
        """Settle until every claim is final."""
        ledger = self.world.node.ledger
        self.world.run(lambda: ledger.claims.newest(limit=1) and not ledger.claims.unfinished())

    def train(self) -> Adapter:
        """Train an adapter of the fake base on ROWS, and keep the Datanet's version."""
        write_version(self.home, VERSION)
        return train_indexed_adapter(self.home, LAKE, ROWS, self.world.node.accounts.wallet)

    def publish(self, adapter: Adapter, rules: tuple[int, ...] = USUAL_RULES) -> DatanetId:
        """Register the Datanet, its version and the adapter, and wait until the chain has them."""
        world, manifest = self.world, adapter.manifest
        datanet_id = world.create_datanet(rules)
        roots = {"rows_root": VERSION.rows_root, "contributors_root": VERSION.contributors_root}
        world.act(PublishDatanet(datanet_id=datanet_id, **roots))
        digests = {"artifact": manifest.artifact_digest, "index_root": manifest.index_root or ZERO_DIGEST}
        world.register(manifest_id(manifest), datanet_id, base=manifest.base.digest, **digests)
        world.run(lambda: world.node.ledger.events.find("DatanetVersion", {"id": datanet_id}))
        return datanet_id


@asynccontextmanager
async def start_seller(
    root: Path,
    world: World,
    *,
    base: Base = FAKE_BASE,
    engine: Any = None,  # a LocalEngine, unless a test brings an Engine
    timeout_s: float = TIMEOUT_S,
) -> AsyncIterator[Seller]:
    """Start the node's engine, and sell its answers over a memory transport."""
    home = Home(root)
    tokenizer = open_tokenizer(base.folder)
    engine = engine or LocalEngine()
    clock = iter(range(1_800_000_000 * 10**9, 1 << 62, 1_000_000))
    serving = Serving(
        home=home,
        base=base,
        engine=engine,
        tokenizer=tokenizer,
        ledger=world.node.ledger,
        queue_max=16,
        now_ns=lambda: next(clock),
    )
    registry = AdapterRegistry(home, world.node.deployment, world.node.ledger, EngineReplays(engine))
    with trio.fail_after(timeout_s):
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            assert engine.profile is not None
            stack = open_seller(
                world.node,
                serving=serving,
                tokenizer=tokenizer,
                profile=engine.profile,
                registry=registry,
                config=Config(),
                nursery=nursery,
            )
            questions = open_queries(home, world.node, registry=registry, tokenizer=lambda: tokenizer)
            guest_file = home.guest_ledger(world.node.network.network)
            guest_file.parent.mkdir(parents=True)
            guest_file.symlink_to(root / "payer.db")
            texts = open_texts(guest_file.parent, world.payer.ledger, setting_s=1e6, is_development=True)
            guest = Guest(
                world.payer,
                seller=stack,
                serving=serving,
                tokenizer=tokenizer,
                texts=texts,
                generation=lambda: world.node.ledger.generations.current.generation,
                pause=lambda _: world.wait(1),
            )
            peers = MemoryNetwork()
            transport = MemoryTransport(peers, NODE)
            streams = IdleCount()

            async def serve(peer: PeerId, stream: trio.abc.Stream) -> None:
                with streams:
                    await stack.paid.serve(peer, stream)

            transport.handle(INFER, serve)
            await nursery.start(transport.run)
            yield Seller(home, world, stack, questions, guest, peers, streams)
            nursery.cancel_scope.cancel()
