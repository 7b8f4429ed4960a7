"""A bidder that takes long to reach has its time for a bid, as long as nobody else has bid."""

from pathlib import Path

import pytest
import trio
from support.market_world.market import Market, open_market

from openledger_node.market import calls
from openledger_node.market.reachable import open_to
from openledger_node.p2p.transport import Transport
from openledger_protocol.advertisement import Advertisement
from openledger_protocol.errors import UnavailableError

LIMIT_S = 1.5
TRAVEL_S = LIMIT_S + calls.WAY_S


def delay(monkeypatch: pytest.MonkeyPatch, market: Market, name: str, delay_s: float) -> None:
    """Let it take so long until this seller is reached."""
    far = market.sellers[name].transport.peer_id

    async def open_late(transport: Transport, ad: Advertisement, protocol: str) -> trio.abc.Stream:
        if ad.peer_id == far:
            await trio.sleep(delay_s)
        return await open_to(transport, ad, protocol)

    monkeypatch.setattr(calls, "open_to", open_late)


@pytest.mark.parametrize("delay_s", [LIMIT_S - 0.1, LIMIT_S + 0.1, TRAVEL_S - 0.1])
async def test_the_only_seller_is_waited_for_while_it_is_being_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock, delay_s: float
) -> None:
    async with open_market(tmp_path, {"far": 1}) as market:
        delay(monkeypatch, market, "far", delay_s)
        assert market.names_of(await market.ask("hello")) == ["far"]


async def test_there_is_an_end_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_market(tmp_path, {"far": 1}) as market:
        delay(monkeypatch, market, "far", TRAVEL_S + 0.1)
        with pytest.raises(UnavailableError, match="not reached"):
            await market.ask("hello")


async def test_with_a_bid_nobody_is_waited_for_beyond_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_market(tmp_path, {"far": 0.5, "near": 1}) as market:
        delay(monkeypatch, market, "far", LIMIT_S + 0.5)
        began_s = trio.current_time()
        assert market.names_of(await market.ask("hello")) == ["near"]
        assert trio.current_time() - began_s < LIMIT_S + 0.4
