"""The pace at which a node reads its chain."""

from dataclasses import replace

import pytest
import trio

from openledger_node.chain.clients.evm import KEEP_ALIVE_S
from openledger_node.chain.dev.constants import DEVELOPMENT_WINDOWS
from openledger_node.config_tables import ChainConfig
from openledger_node.network.service import BUSY_S, ChainPace
from openledger_node.settlement.session import Waits
from openledger_protocol.epoch import Windows

DAY_S = 86_400
PUBLIC = replace(DEVELOPMENT_WINDOWS, epoch_s=DAY_S, withdraw_delay_min_s=DAY_S)


async def waited_s(pace: ChainPace, waits_for: Waits) -> float:
    began_s = trio.current_time()
    await pace.wait(waits_for)
    return trio.current_time() - began_s


@pytest.mark.parametrize(
    ("windows", "idle_poll_s", "idle_s", "earned_s"),
    [
        (PUBLIC, 60.0, 60.0, 60.0),
        (replace(PUBLIC, epoch_s=120), 60.0, 20.0, 20.0),
        (replace(PUBLIC, withdraw_delay_min_s=60), 60.0, 60.0, 10.0),
        (replace(PUBLIC, withdraw_delay_min_s=6, epoch_s=6), 60.0, BUSY_S, BUSY_S),
    ],
    ids=["a public chain", "short epochs", "short withdrawals", "never faster than a busy node"],
)
async def test_an_idle_node_looks_as_seldom_as_its_deadlines_allow(
    autojump_clock: trio.testing.MockClock, windows: Windows, idle_poll_s: float, idle_s: float, earned_s: float
) -> None:
    pace = ChainPace(windows, is_development=False, idle_poll_s=idle_poll_s)
    assert await waited_s(pace, "nothing") == pytest.approx(idle_s)
    assert await waited_s(pace, "payers") == pytest.approx(earned_s)
    assert await waited_s(pace, "block") == pytest.approx(BUSY_S)


async def test_a_node_that_sends_something_from_any_thread_looks_soon(autojump_clock: trio.testing.MockClock) -> None:
    pace = ChainPace(PUBLIC, is_development=False, idle_poll_s=60.0)

    async def send_later() -> None:
        await trio.sleep(20)
        await trio.to_thread.run_sync(pace.hurry)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_later)
        assert await waited_s(pace, "nothing") == pytest.approx(20, abs=1)
    assert await waited_s(pace, "nothing") == pytest.approx(60)
    pace.hurry()
    assert await waited_s(pace, "nothing") == pytest.approx(BUSY_S), "what was sent during a look"


def test_an_idle_node_asks_again_before_the_connection_to_its_endpoint_ends() -> None:
    """A load balancer that closes idle connections after a minute would else close it as the next request leaves."""
    assert ChainConfig().idle_poll_s < KEEP_ALIVE_S < 60
