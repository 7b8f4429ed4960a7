"""Nodes that advertise on a memory network, each with a board and a ledger of its own."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import trio
from support.market_world.liars import messages_of
from support.market_world.seller import ad_of
from support.market_world.terms import ADS, BASE, NETWORK, TERMS, now_s, peer_id_of, priced, seed_of

from openledger_node.errors import NetworkError
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.market.advertiser import Advertiser, Snapshot
from openledger_node.market.board import AdTable
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport
from openledger_protocol.primitives import Digest
from openledger_protocol.wire.ads import AdsMessage, decode, encode


@dataclass(kw_only=True)
class Node:
    board: AdTable
    ledger: Ledger
    transport: MemoryTransport
    advertiser: Advertiser
    offer: Any  # a snapshot, or None
    base: Digest = BASE  # it follows

    def heard_of(self) -> set[str]:
        return {ad.peer_id for ad in self.board.live()}


def snapshot_of(name: str) -> Snapshot:
    """The offer of which `ad_of` makes an advertisement."""
    ad = ad_of(name)
    told = {each.name: getattr(ad, each.name) for each in fields(Snapshot) if hasattr(ad, each.name)}
    return Snapshot(**{**told, "terms_max": priced(TERMS, 9), "cold": (), "slots": 4})


@asynccontextmanager
async def open_nodes(
    root: Path, *names: str, clock_s: float = 0.0, bases: Mapping[str, Digest] | None = None
) -> AsyncIterator[dict[str, Node]]:
    """Nodes in a row, each connected with the one before; `bases` names those of nodes with another base."""
    network, nodes = MemoryNetwork(), {}
    with trio.fail_after(10_000) as scope:
        async with trio.open_nursery() as nursery:
            for name in names:
                nodes[name] = await open_node(root, name, network, nursery, clock_s, (bases or {}).get(name, BASE))
            for before, after in pairwise(names):
                await nodes[after].transport.connect(nodes[before].transport.addresses[0])
            yield nodes
            scope.deadline = inf  # a thread may still write, and a test's clock jumps meanwhile
            nursery.cancel_scope.cancel()
    for node in nodes.values():
        node.ledger.close()


async def open_node(
    root: Path, name: str, network: MemoryNetwork, nursery: trio.Nursery, clock_s: float, base: Digest = BASE
) -> Node:
    ledger = open_ledger(root / f"{name}.db")
    transport = MemoryTransport(network, peer_id_of(name))
    board = AdTable(NETWORK, now_s, ledger.peers, own=transport.peer_id, base_names={BASE: "fake"})
    node: Node
    advertiser = Advertiser(
        network=NETWORK,
        transport=transport,
        table=board,
        peers=ledger.peers,
        seed=seed_of(name),
        snapshot=lambda: node.offer,
        base=lambda: node.base,
        now_ns=lambda: int((now_s() + clock_s) * 10**9),
        jitter=lambda: 0.5,
    )
    node = Node(
        board=board,
        ledger=ledger,
        transport=transport,
        advertiser=advertiser,
        offer=replace(snapshot_of(name), base=base),
        base=base,
    )
    await nursery.start(transport.run)
    await nursery.start(advertiser.run)
    return node


async def ask(node: Node, *requests: AdsMessage | dict[str, object]) -> list[Any]:
    """The answers to requests on one stream, to its end."""
    stream = await MemoryTransport(node.transport._network, peer_id_of("newcomer")).open_stream(
        node.transport.peer_id, ADS
    )
    answers = list[AdsMessage]()
    async with stream:
        messages = messages_of(stream)
        with suppress(NetworkError):
            for request in requests:
                await messages.send(request if isinstance(request, dict) else encode(request))
                answers.append(decode(await messages.receive()))
    return answers
