"""A request that is marked for an audit: a seller receives exactly the bytes of any other request."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from support.market_world.liars import as_it_is, tamper_with
from support.market_world.market import Market, open_market
from support.market_world.requests import network_request
from support.market_world.terms import CALL, wallet_of

from openledger_node.market.request import NetworkRequest
from openledger_node.p2p.transport import PeerId
from openledger_protocol.errors import PaymentRequiredError, UnavailableError
from openledger_protocol.primitives import Address, Wei
from openledger_protocol.wire.inference import InferenceMessage, Open

TWO = {"node": 1.0, "other": 2.0}


async def ask(market: Market, requested: NetworkRequest) -> list[str]:
    async def show(_: str) -> None:
        await trio.lowlevel.checkpoint()

    return market.names_of(await market.buyer.requester.answer(requested, show))


def marked(node: str, **changes: Any) -> NetworkRequest:
    return replace(network_request(**changes), only=wallet_of(node), is_audited=True, cost_max_wei=Wei(10**17))


class Noted:
    """A stream whose received bytes are noted."""

    def __init__(self, stream: trio.abc.Stream, notes: list[Any]) -> None:
        self._stream = stream
        self._notes = notes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def receive_some(self, count: int | None = None) -> bytes:
        found = bytes(await self._stream.receive_some(count))
        self._notes.append(found)
        return found


def note_all(market: Market) -> list[Any]:
    """What the only seller receives from now on: the bytes of calls, and the messages of paid streams."""
    notes: list[Any] = []

    async def serve(peer: PeerId, stream: trio.abc.Stream) -> None:
        await market.seller.bidder.serve(peer, Noted(stream, notes))  # type: ignore[arg-type]

    def note(message: InferenceMessage) -> Any:
        notes.append(message)
        return as_it_is(message)

    market.seller.transport.handle(CALL, serve)
    tamper_with(market.seller, by_payer=note)
    return notes


async def received(root: Path, requested: NetworkRequest) -> list[Any]:
    """What a seller receives of one request to a fresh market, all of whose randomness is the same."""
    async with open_market(root) as market:
        notes = note_all(market)
        await ask(market, requested)
        await market.seller.wait_served(1)
        return notes


async def test_a_seller_cant_tell_a_marked_request_from_any_other(tmp_path: Path) -> None:
    usual = await received(tmp_path / "usual", network_request("who keeps the harbour?"))
    assert isinstance(usual[0], bytes), "a call came"
    assert any(isinstance(each, Open) for each in usual)
    assert await received(tmp_path / "tested", marked("node", prompt="who keeps the harbour?")) == usual


async def test_a_marked_request_is_bought_from_its_node_though_another_is_cheaper(tmp_path: Path) -> None:
    async with open_market(tmp_path, TWO) as market:
        assert await ask(market, network_request(name="r0")) == ["node"]
        assert await ask(market, marked("other", name="r1")) == ["other"]


async def test_a_marked_request_goes_to_nobody_else(tmp_path: Path) -> None:
    async with open_market(tmp_path, TWO) as market:
        stranger = replace(marked("node"), only=Address("0x" + "99" * 20))
        with pytest.raises(UnavailableError, match="no other node offers it"):
            await ask(market, stranger)


async def test_a_bid_over_what_is_left_is_not_taken(tmp_path: Path) -> None:
    async with open_market(tmp_path) as market:
        with pytest.raises(PaymentRequiredError, match="and 1 are left"):
            await ask(market, replace(marked("node"), cost_max_wei=Wei(1)))
        assert market.paid() == {}
