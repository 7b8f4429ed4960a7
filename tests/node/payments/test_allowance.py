"""The engine computes at most two chunks beyond what was delivered, whatever a payer pays, reads or says."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio.testing
from support.local_engine import LocalEngine, child_engine
from support.market_world.liars import open_of, script, voucher_of
from support.market_world.market import Market, open_market
from support.market_world.requests import FIRST, LONG, purchase
from support.market_world.terms import CHUNK_TOKENS, CONFIG, DOMAIN, price, salt_of

from openledger_node.engine.engine import Engine
from openledger_protocol.payments import channel_id
from openledger_protocol.wire.inference import Chunk

AHEAD_MAX = 2 * CHUNK_TOKENS


async def num_computed(market: Market) -> int:
    """The tokens of the only answer, delivered or not."""
    await market.seller.serving.wait_idle()
    (job,) = market.seller.ledger.jobs.newest(limit=9)
    assert job.tokens_out is not None
    return job.tokens_out


@pytest.mark.parametrize("num_chunks", [1, 2, 5])
async def test_a_payer_that_stops_paying_has_two_chunks_computed_for_nothing(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, num_chunks: int
) -> None:
    num_paid = num_chunks * CHUNK_TOKENS
    async with open_market(tmp_path) as market:
        async with script(market) as stream:
            await stream.say(open_of(LONG, voucher_of(price(5, num_paid))))
            _, told = await stream.hear_receipt()
        assert await num_computed(market) <= num_paid + AHEAD_MAX
    assert told.receipt.work.tokens_out == num_paid


async def test_a_payer_that_pays_for_all_and_reads_nothing_has_two_chunks_computed_for_nothing(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_market(tmp_path) as market:
        async with script(market) as stream:
            await stream.say(open_of(LONG, voucher_of(price(5, 1000))))
            await market.seller.wait_served(1)
        (row,) = market.seller.ledger.receipts.newest(limit=9)
        assert await num_computed(market) <= row.receipt.work.tokens_out + AHEAD_MAX


@pytest.mark.parametrize("open_engine", [lambda _: LocalEngine(), child_engine], ids=["local", "child"])
async def test_a_payer_that_pays_late_each_time_gets_the_same_answer(
    tmp_path: Path, open_engine: Callable[[Path], Engine | LocalEngine]
) -> None:
    num_tokens = 6 * CHUNK_TOKENS
    at_once, late = (purchase(name, prompt="on...", max_tokens=num_tokens) for name in ("at once", "late"))
    async with open_market(tmp_path, open_engine=open_engine) as market:
        async with script(market) as stream:
            await stream.say(open_of(at_once, voucher_of(price(5, num_tokens))))
            expected, told = await stream.hear_receipt()
            await stream.countersign(told.receipt)
            await market.seller.wait_served(1)
        async with script(market) as stream:
            before = told.receipt.cumulative_wei
            await stream.say(open_of(late, voucher_of(before + FIRST)))
            chunks = []
            for num_paid in range(2 * CHUNK_TOKENS, num_tokens + 1, CHUNK_TOKENS):
                for _ in range(CHUNK_TOKENS):
                    chunk = await stream.hear()
                    assert isinstance(chunk, Chunk)
                    chunks.append(chunk)
                await trio.testing.wait_all_tasks_blocked()  # the engine is parked, or about to be
                await stream.raise_to(before + price(5, num_paid))
            rest, _ = await stream.hear_receipt()
    assert [chunk.ids for chunk in [*chunks, *rest]] == [chunk.ids for chunk in expected]


async def test_a_stream_with_the_id_of_a_running_one_neither_ends_it_nor_pays_for_it(tmp_path: Path) -> None:
    other = replace(CONFIG, salt=salt_of("other"))
    async with open_market(tmp_path) as market, script(market) as first:
        await first.say(open_of(LONG, voucher_of(FIRST)))
        for _ in range(CHUNK_TOKENS):
            assert isinstance(await first.hear(), Chunk)
        async with script(market) as second:
            voucher = voucher_of(price(5, 1000), channel=channel_id(other, DOMAIN))
            await second.say(open_of(LONG, voucher, channel_config=other))
            assert (await second.hear_error()).code == "malformed"
        await first.raise_to(price(5, 5 * CHUNK_TOKENS))
        for _ in range(4 * CHUNK_TOKENS):
            assert isinstance(await first.hear(), Chunk)
