"""A seller that takes a request and never answers holds one request for seconds, and no further one at any price."""

from pathlib import Path

import pytest
import trio
import trio.testing
from support.market_world.market import Market, open_market
from support.market_world.terms import INFER

from openledger_node.ledger.bought import OpenPurchase
from openledger_node.ledger.sellers import SellerRecord
from openledger_node.p2p.transport import PeerId
from openledger_node.payments.payer_lanes import PayerLane
from openledger_protocol.errors import UnavailableError
from openledger_protocol.payments import SignedVoucher


async def never_answer(_: PeerId, __: trio.abc.Stream) -> None:
    await trio.sleep_forever()


def silence(market: Market, name: str) -> None:
    market.sellers[name].transport.handle(INFER, never_answer)


def record_of(market: Market, name: str) -> SellerRecord:
    return market.buyer.ledger.sellers.find(market.sellers[name].state.wallet)


@pytest.mark.parametrize("times", [0.5, 0.0])
async def test_a_seller_that_never_answers_holds_one_request_for_five_seconds_and_no_other(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, times: float
) -> None:
    """Its price does not help it once, whether half of the usual one or nothing, after its time is over either."""
    async with open_market(tmp_path, {"silent": times, "honest": 1}) as market:
        silence(market, "silent")
        took_s = list[float]()
        for number in range(4):
            began_s = trio.current_time()
            answered = await market.ask("hello...", name=f"r{number}")
            took_s.append(trio.current_time() - began_s)
            assert market.names_of(answered) == ["honest"]
            market.clock.now_ns += 60 * 10**9
        record = record_of(market, "silent")
    assert 5 <= took_s[0] < 7
    assert max(took_s[1:]) < 2
    assert (record.failures, record.defaults) == (1, 1)


async def test_the_only_seller_has_the_whole_stall_timeout_and_is_called_again_after_its_time(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_market(tmp_path, {"silent": 1}) as market:
        serve = market.sellers["silent"].serve
        silence(market, "silent")
        began_s = trio.current_time()
        with pytest.raises(UnavailableError, match="gave nothing for 15 s"):
            await market.ask("hello...")
        took_s = trio.current_time() - began_s
        market.sellers["silent"].transport.handle(INFER, serve)
        market.clock.now_ns += 60 * 10**9
        answered = await market.ask("hello...", name="r2")
        assert market.names_of(answered) == ["silent"]
        record = record_of(market, "silent")
    assert 15 <= took_s < 18
    assert (record.successes, record.defaults) == (1, 1)


async def test_a_buyer_whose_own_disk_is_busy_blames_no_seller(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    """Storing the first voucher takes longer than the seller may, and the seller answers at once then."""
    async with open_market(tmp_path, {"first": 0.9, "next": 1}) as market:
        lanes = market.buyer.payer._wallet
        store = lanes.raise_ceiling

        async def store_slowly(lane: PayerLane, purchase: OpenPurchase | None = None) -> SignedVoucher:
            mock_clock.jump(8 if lane.tab.ceiling_wei == 0 else 0)
            await trio.lowlevel.checkpoint()
            return await store(lane, purchase)

        lanes.raise_ceiling = store_slowly
        answered = await market.ask("hello...")
        record = record_of(market, "first")
    assert market.names_of(answered) == ["first"]
    assert (record.successes, record.num_answers, record.defaults) == (1, 1, 0)
