"""Peers that offer an adapter of several chunks, with its index and Datanet, to one node that fetches it."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trio

from openledger_node.attribution.index import build_index
from openledger_node.datanets.version import DatanetVersion, make_version, write_published
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.home import Home
from openledger_node.models.adapters import INDEX_FOLDER, Adapter, add_adapter, artifact_digest
from openledger_node.models.bases import FAKE_BASE, Base
from openledger_node.network.adapter_pull import Fetched, fetch_adapter
from openledger_node.p2p.adapter_server import AdapterServer
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport
from openledger_protocol.adapter import AdapterManifest, BaseReference, DatanetReference
from openledger_protocol.codec import DATA_FRAME_BYTES_MAX, to_plain
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import datanet_id
from openledger_protocol.primitives import AdapterId, DatanetId
from openledger_protocol.wire.transfer import GetChunk, TransferMessage, decode, encode

from ..contributors import ADA, CONTRIBUTED
from ..peft_folders import pair, write_adapter

WEIGHTS = "adapter_model.safetensors"
ADAPTER = "/openledger/test/adapter/1"
US, ANN, BOB, CYD, DOT = map(PeerId, ("us", "ann", "bob", "cyd", "dot"))
VERSION = make_version("lake", "1", CONTRIBUTED, {"ben": ADA})
LAKE = DatanetReference(id=datanet_id(ADA, "lake"), version="1", rows_root=VERSION.rows_root, weight_ppm=PPM)
SIDE = 4096
"""Of a changed linear map: at rank 32 the weights have a MiB, which is five chunks with their header."""

Answer = Callable[[TransferMessage, TransferMessage], object]
"""Returns, from question and honest answer, a message, bytes, or None for silence; or raises."""


def share_adapter(home: Home, *, name: str = "lake", with_index: bool = True, **changes: Any) -> Adapter:
    """Put an adapter and its Datanet's version into a home."""
    write_published(home, LAKE.id, VERSION)
    with TemporaryDirectory() as made:
        folder = write_adapter(Path(made), tensors=pair(rank=32, d_in=SIDE, d_out=SIDE), r=32)
        root = None
        if with_index:
            root = build_index(folder / INDEX_FOLDER, [(VERSION.label, CONTRIBUTED)], ByteTokenizer(), None)
        manifest = AdapterManifest(
            name=name,
            base=BaseReference(name=FAKE_BASE.name, digest=FAKE_BASE.digest),
            artifact_digest=artifact_digest(folder),
            index_root=root,
            datanets=(LAKE,),
            owner=ADA,
        )
        content = {**to_plain(manifest), **changes}  # type: ignore[dict-item]  # a dataclass is an object
        (folder / "adapter.json").write_text(json.dumps(content))
        return add_adapter(home, folder, FAKE_BASE)


@dataclass
class Swarm:
    """One node, and peers that offer the adapters of a home that they share."""

    network: MemoryNetwork
    nursery: trio.Nursery
    ours: Home
    shared: Home
    transport: MemoryTransport
    asked: dict[PeerId, list[TransferMessage]] = field(default_factory=dict)

    async def add(self, peer_id: PeerId, answer: Answer = lambda _, honest: honest) -> None:
        """Add a peer, which sends `answer` in place of each honest answer."""
        server = AdapterServer(self.shared)
        asked = self.asked.setdefault(peer_id, [])

        async def serve(_: PeerId, stream: trio.abc.Stream) -> None:
            messages = MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)
            while True:
                question = decode(await messages.receive())
                asked.append(question)
                found = answer(question, server.answer(question))
                if found is None:
                    await trio.sleep_forever()
                if isinstance(found, bytes):
                    await stream.send_all(found)
                elif isinstance(found, dict):
                    await messages.send(found)
                else:
                    await messages.send(encode(found))  # type: ignore[arg-type]  # a message

        transport = MemoryTransport(self.network, peer_id)
        transport.handle(ADAPTER, serve)
        await self.nursery.start(transport.run)

    async def fetch(
        self,
        id: AdapterId,
        *providers: PeerId,
        base: Base = FAKE_BASE,
        is_published: Callable[[DatanetId, DatanetVersion], bool] = lambda *_: True,
        **more: Any,
    ) -> Fetched:
        async def reach(peer_id: PeerId) -> trio.abc.Stream:
            return await self.transport.open_stream(peer_id, ADAPTER)

        return await fetch_adapter(reach, providers, id, self.ours, base, is_published=is_published, **more)


@asynccontextmanager
async def open_swarm(root: Path) -> AsyncIterator[Swarm]:
    network = MemoryNetwork()
    transport = MemoryTransport(network, US)
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run)
        yield Swarm(network, nursery, Home(root / "ours"), Home(root / "shared"), transport)
        nursery.cancel_scope.cancel()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file, by its path in the folder."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def is_bulk(question: TransferMessage) -> bool:
    return isinstance(question, GetChunk) and question.path == WEIGHTS
