"""Requests over a network of nodes, through a node's API, and the auctions before them."""

import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import SystemRandom
from typing import Any

import httpx
import trio
from network_town import FOUND_TIMEOUT_S, LOOPBACK, Town, ask

from openledger_node.api_key import load_api_key
from openledger_node.home import Home as NodeHome
from openledger_node.ledger.peers import Peers
from openledger_node.market.advertiser import Advertiser
from openledger_node.market.board import AdTable
from openledger_node.market.calls import call_all, tell_all
from openledger_node.models.bases import FAKE_BASE
from openledger_node.p2p.address_book import AddressBook
from openledger_node.p2p.connections import Connections
from openledger_node.p2p.transport import PeerId, Transport
from openledger_node.plugs import load_plug
from openledger_protocol.auction import Bid, award
from openledger_protocol.constants import PPM
from openledger_protocol.primitives import BASE_ONLY, RequestId, Wei
from openledger_protocol.wire.frames import wire_name
from openledger_protocol.wire.market import Call

CALLS, CALLS_AT_ONCE, CALL_TIMEOUT_S = 60, 6, 60.0
ANSWER_TOKENS = 24
BID_TIMEOUT_S, CANDIDATES_MAX = 1.5, 8
CEILING_WEI = Wei(10**18)


def measure_calls(town: Town, count: int) -> dict[str, Any]:
    """Send requests through one node's own API, several at once."""
    url, key = ask(town.asker, "/status")["api"]["url"], load_api_key(NodeHome(town.asker.root))
    load, began_s = os.getloadavg()[0], time.monotonic()
    headers = {"Authorization": f"Bearer {key}"}
    with (
        httpx.Client(base_url=url, headers=headers, timeout=CALL_TIMEOUT_S) as client,
        ThreadPoolExecutor(CALLS_AT_ONCE) as pool,
    ):
        answers = list(pool.map(lambda number: ask_once(client, number), range(count)))
    errors = [why for _, why in answers if why]
    return {
        "load": load,
        "asked": count,
        "served": count - len(errors),
        "errors": errors[:5],
        "answer_ms": [round(took_ms) for took_ms, why in answers if not why],
        "wall_s": round(time.monotonic() - began_s, 2),
        "answered_by": answered_by(town),
    }


def ask_once(client: httpx.Client, number: int) -> tuple[float, str | None]:
    body = {
        "model": FAKE_BASE.name,
        "messages": [{"role": "user", "content": f"question {number} of a bench..."}],
        "max_tokens": ANSWER_TOKENS,
    }
    began_s = time.monotonic()
    try:
        response = client.post("/v1/chat/completions", json=body)
    except httpx.HTTPError as error:
        return 0.0, repr(error)
    took_ms = 1000 * (time.monotonic() - began_s)
    if response.status_code != 200:
        return took_ms, response.text[:200]
    tokens = response.json()["usage"]["completion_tokens"]
    return took_ms, None if tokens == ANSWER_TOKENS else f"an answer of {tokens} tokens"


def answered_by(town: Town) -> dict[str, int]:
    """The number of receipts that each seller has signed."""
    words = {"limit": CALLS}
    found = {home.name: len(ask(home, "/money/receipts", words)["receipts"]) for home in town.sellers}
    return {name: count for name, count in found.items() if count}


# ---- auctions


async def measure_auctions(town: Town, count: int, folder: Path) -> dict[str, Any]:
    """Run auctions as a requester does, one after the other, from a peer in this process."""
    network = town.network.network
    transport: Transport = load_plug("transport", "libp2p")(
        identity=secrets.token_bytes(32), listen=(LOOPBACK,), serve_rendezvous=False
    )
    keeper = Connections(
        transport,
        network=network,
        bootstrap=town.network.bootstrap,
        book=AddressBook(folder),
        random=SystemRandom(),
    )
    board = AdTable(network, time.time, NoSeqs(), own=transport.peer_id)
    listener = Advertiser(
        network=network,
        transport=transport,
        table=board,
        peers=NoSeqs(),
        seed=secrets.token_bytes(32),
        snapshot=lambda: None,
        base=lambda: FAKE_BASE.digest,
        now_ns=time.time_ns,
    )
    load, took_ms, num_bids = os.getloadavg()[0], list[float](), list[int]()
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run)
        nursery.start_soon(keeper.run)
        await nursery.start(listener.run)
        with trio.fail_after(FOUND_TIMEOUT_S):
            while len(board.offers(FAKE_BASE.digest, BASE_ONLY)) < len(town.sellers):  # noqa: ASYNC110
                await trio.sleep(0.1)
        for _ in range(count):
            began_s = trio.current_time()
            num_bids.append(await hold_auction(transport, board, network))
            took_ms.append(1000 * (trio.current_time() - began_s))
        nursery.cancel_scope.cancel()
    return {"load": load, "award_ms": [round(each, 1) for each in took_ms], "bids": num_bids}


async def hold_auction(transport: Transport, board: AdTable, network: str) -> int:
    """Send one call to as many nodes as a requester does, award it, and return the number of bids."""
    ads = board.offers(FAKE_BASE.digest, BASE_ONLY)
    SystemRandom().shuffle(ads)
    call = Call(
        id=RequestId("0x" + secrets.token_hex(32)),
        base=FAKE_BASE.digest,
        adapter=BASE_ONLY,
        tokens_in=20,
        tokens_max=ANSWER_TOKENS,
        price_in_max=CEILING_WEI,
        price_out_max=CEILING_WEI,
        deadline_ms=int(BID_TIMEOUT_S * 1000),
    )
    protocol = wire_name(network, "call")
    bids = await call_all(transport, protocol, call, ads[:CANDIDATES_MAX], timeout_s=BID_TIMEOUT_S)
    given = [Bid(peer_id=one.peer_id, message=one.message, trust_ppm=PPM) for one in bids.received]
    winner = award(call, given)[0].peer_id
    await tell_all(bids, call, PeerId(winner), {})
    return len(bids.received)


class NoSeqs(Peers):
    """A store of sequence numbers that keeps nothing, because nothing restarts here."""

    def __init__(self) -> None:
        pass

    def seqs(self) -> dict[str, int]:
        """Return None."""
        return {}

    def keep_seqs(self, seqs: Any, *, now_ns: int) -> None:
        """Keep nothing."""
