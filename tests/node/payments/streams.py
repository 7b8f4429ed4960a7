"""The node's side of streams that a payer has opened, in the hands of a test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from support.market_world.liars import Script, messages_of
from support.market_world.market import Market
from support.market_world.requests import purchase

from openledger_node.errors import NetworkError


async def show_nothing(_: str) -> None:
    await trio.lowlevel.checkpoint()


@asynccontextmanager
async def streams_of(market: Market, *names: str) -> AsyncIterator[list[Script]]:
    """Streams on which the payer has paid for a first chunk, and that end without the seller's knowledge."""
    pairs = [trio.testing.memory_stream_pair() for _ in names]
    scripts = [Script(theirs, messages_of(theirs)) for _, theirs in pairs]
    async with trio.open_nursery() as nursery:

        async def buy(name: str, stream: trio.abc.Stream) -> None:
            with pytest.raises(NetworkError):
                await market.buyer.payer.buy(purchase(name), stream, show_nothing)

        for name, (ours, _), script in zip(names, pairs, scripts, strict=True):
            nursery.start_soon(buy, name, ours)
            await script.hear()
        yield scripts
        for script in scripts:
            await script.raw.aclose()
