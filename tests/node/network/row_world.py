"""Operators who hold the rows of a Datanet, honest or not, and one who pulls them."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import trio
import trio.testing
from node.p2p.provided import id_of
from support.contributors import ACCOUNTS, ADA, CONTRIBUTED, key_of
from support.rows import append_event

from openledger_node.datanets.held import PulledVersion, keep_pulled, rows_file, write_canonical
from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.store import OwnDatanets
from openledger_node.datanets.version import DatanetVersion, make_version, write_published
from openledger_node.errors import NetworkError
from openledger_node.home import Home
from openledger_node.keystore import WALLET, ensure_node_password, import_account
from openledger_node.ledger.ledger import Ledger
from openledger_node.network.row_pull import DatanetRows, NearPeer
from openledger_node.p2p.rows_fetch import RowsLimits
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport
from openledger_node.p2p.upload import Uplink
from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.datanet import Row, datanet_id
from openledger_protocol.primitives import Address
from openledger_protocol.wire.rows import RowsMessage, decode, encode

NETWORK = "test-net"
CHAIN_ID = 7
REGISTRY = Address("0x5FbDB2315678afecb367f032d93F642f64180aa3")
ROWS_PROTOCOL = f"/openledger/{NETWORK}/rows/1"
OWNER = key_of("owner")
LAKE_ID = datanet_id(OWNER.address, "lake")
US, ANN, BOB = map(id_of, ("us", "ann", "bob"))
LONG = tuple(
    Row(prompt=f"What is number {number}?", completion=f"{number} " + "long " * 300, contributor=ADA)
    for number in range(400)
)
"""Rows of three chunks."""

RowsAnswer = Callable[[RowsMessage, RowsMessage], object]
"""Returns, from question and honest answer, a message, bytes, or None for silence; or raises."""


def honest(_: RowsMessage, answer: RowsMessage) -> object:
    return answer


@dataclass
class RowWorld:
    """A chain of events, and operators with homes of their own on one network in memory."""

    root: Path
    nursery: trio.Nursery
    ledger: Ledger
    network: MemoryNetwork = field(default_factory=MemoryNetwork)
    providers: list[PeerId] = field(default_factory=list)
    asked: dict[PeerId, list[RowsMessage]] = field(default_factory=dict)
    num_blocks: int = 0

    def home(self, name: str) -> Home:
        home = Home(self.root / name)
        home.root.mkdir(exist_ok=True)
        return home

    def tell(self, event_name: str, /, **arguments: Any) -> None:
        """Add an event to the chain."""
        self.num_blocks += 1
        append_event(self.ledger, event_name, arguments, block=self.num_blocks, contract=REGISTRY)

    def publish(self, rows: Sequence[Row] = CONTRIBUTED, *, number: int = 1) -> DatanetVersion:
        """Publish a version of `lake` on the chain."""
        if number == 1:
            self.tell("DatanetCreated", id=LAKE_ID, owner=OWNER.address, name="lake", licence="CC-BY-4.0")
        return self.tell_version(make_version("lake", str(number), rows, ACCOUNTS))

    def tell_version(self, version: DatanetVersion) -> DatanetVersion:
        roots = {"rowsRoot": version.rows_root, "contributorsRoot": version.contributors_root}
        self.tell("DatanetVersion", id=LAKE_ID, version=int(version.version), **roots)
        return version

    def own(self, home: Home, rows: Sequence[Row] = CONTRIBUTED) -> DatanetVersion:
        """Let a home own `lake`, and publish a version of it."""
        version = self.publish(rows)
        import_account(home.network_keys(NETWORK), WALLET, OWNER, ensure_node_password(home.network_keys(NETWORK)))
        own = OwnDatanets(home)
        own.create(new_datanet("lake", licence="CC-BY-4.0", treasury=OWNER.address, owner_ppm=0))
        batch = own.contribute("lake", rows, ACCOUNTS)
        own.approve("lake", batch.digest, {})
        own.keep_version(version, 1)
        write_published(home, LAKE_ID, version)
        return version

    def rows(self, name: str, home: Home, *, limits: RowsLimits | None = None) -> DatanetRows:
        """The exchange of rows of a named operator."""
        session: Any = SimpleNamespace(network=SimpleNamespace(network=NETWORK), ledger=self.ledger)

        async def find(_: str) -> list[NearPeer]:
            return [NearPeer(peer_id=each) for each in self.providers]

        transport = MemoryTransport(self.network, id_of(name))
        rows = DatanetRows(home, session, transport, find, uplink=Uplink(0), is_sharing=True, limits=limits)
        rows.shelf.refresh()
        self.nursery.start_soon(transport.run)
        return rows

    async def add(self, name: str, home: Home, answer: RowsAnswer = honest, *, pause_s: float = 0.0) -> DatanetRows:
        """Add a holder, which sends `answer` in place of each honest answer, after a pause."""
        transport = MemoryTransport(self.network, id_of(name))
        rows = self.rows(f"{name}'s exchange", home)
        asked = self.asked.setdefault(id_of(name), [])

        async def serve(peer_id: PeerId, stream: trio.abc.Stream) -> None:
            ours, theirs = trio.testing.memory_stream_pair()
            reader = MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)
            inner = MessageStream(ours, frame_bytes_max=DATA_FRAME_BYTES_MAX)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(rows.server.serve, peer_id, theirs)
                with suppress(NetworkError):
                    while True:
                        question = decode(await reader.receive())
                        asked.append(question)
                        await inner.send(encode(question))
                        found = answer(question, decode(await inner.receive()))
                        await trio.sleep(pause_s)
                        if found is None:
                            await trio.sleep_forever()
                        if isinstance(found, bytes):
                            await stream.send_all(found)
                        else:
                            await reader.send(encode(found))  # type: ignore[arg-type]  # a message
                nursery.cancel_scope.cancel()

        transport.handle(ROWS_PROTOCOL, serve)
        await self.nursery.start(transport.run)
        self.providers.append(id_of(name))
        return rows

    def hold(self, name: str, version: DatanetVersion, rows: Sequence[Row] = CONTRIBUTED) -> Home:
        """A home that has pulled a version."""
        home = self.home(name)
        write_published(home, LAKE_ID, version)
        write_canonical(rows_file(home, LAKE_ID, version.rows_root), rows)
        pulled = {"name": "lake", "num_rows": len(rows), "licence": "CC-BY-4.0", "rows_root": version.rows_root}
        keep_pulled(home, PulledVersion(id=LAKE_ID, version=int(version.version), **pulled))  # type: ignore[arg-type]
        return home
