"""A seller that is not reached has not failed, and a broken connection of one's own is nobody else's fault."""

from pathlib import Path

import pytest
from support.market_world.market import open_market
from support.market_world.terms import peer_id_of, wallet_of

from openledger_node.market.call_memory import REST_S, REST_S_MAX, RESTS_MAX, UnreachedPeers
from openledger_protocol.errors import UnavailableError

A = peer_id_of("a")


async def test_a_seller_that_is_not_reached_has_not_failed_and_is_left_alone_for_a_while(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"gone": 0.5, "here": 1}) as market:
        market.sellers["gone"].vanish()
        for name in ("r1", "r2"):
            assert market.names_of(await market.ask("hello", name=name)) == ["here"]
        record = market.buyer.ledger.sellers.find(wallet_of("gone"))
        assert (record.failures, record.unreached, record.num_answers) == (0, 1, 0)


async def test_if_nobody_is_reached_the_own_connection_is_named_and_no_seller_blamed(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"a": 1, "b": 1, "c": 1}) as market:
        for seller in market.sellers.values():
            seller.vanish()
        with pytest.raises(UnavailableError, match="none of 3 sellers was reached: check this machine's connection"):
            await market.ask("hello")
        records = [market.buyer.ledger.sellers.find(wallet_of(name)) for name in "abc"]
    assert [(record.failures, record.unreached) for record in records] == [(0, 0)] * 3


def test_rests_double_up_to_ten_minutes_and_end_when_the_peer_is_reached() -> None:
    now = [0.0]
    unreached = UnreachedPeers(lambda: now[0])
    for number in range(8):
        unreached.note(A)
        length_s = min(REST_S * 2**number, REST_S_MAX)
        now[0] += length_s - 1
        assert unreached.is_resting(A)
        now[0] += 1
        assert not unreached.is_resting(A)
    unreached.note(A)
    unreached.forget(A)
    assert not unreached.is_resting(A)
    for number in range(RESTS_MAX + 1):
        unreached.note(peer_id_of("a") if number == 0 else f"peer {number}")  # type: ignore[arg-type]  # any text
    assert not unreached.is_resting(A)
