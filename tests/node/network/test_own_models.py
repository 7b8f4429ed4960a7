"""The speeds that this node's bids promise, as measured here."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing
from support.offers import CALL
from support.rows import job_of

from openledger_node.engine.frames import Beat
from openledger_node.ledger.jobs import Job
from openledger_node.market.offer import Speeds
from openledger_node.network.peers import OwnModels
from openledger_protocol.errors import AdapterRefusedError

SECOND_NS = 10**9
JOB = job_of(
    CALL.id,
    received_ns=SECOND_NS,
    base="b",
    state="completed",
    tokens_in=100,
    tokens_out=40,
    first_token_ns=2 * SECOND_NS,
    ended_ns=4 * SECOND_NS,
)
MEASURED = Speeds(tokens_per_s=20, prefill_tokens_per_s=100, answer_ms=3_000)


@pytest.mark.parametrize(
    ("jobs", "load_ms_p95", "speeds"),
    [([], 3_200.4, Speeds(load_ms=3_201)), ([JOB], 0.0, MEASURED)],
    ids=["a slow disk", "no load yet"],
)
async def test_a_bid_promises_the_loads_of_adapters_as_they_were_measured_here(
    autojump_clock: trio.testing.MockClock, jobs: list[Job], load_ms_p95: float, speeds: Speeds
) -> None:
    """An owner of a slow disk was called late, since each bid promised half a second."""

    async def newest_jobs(_: int) -> list[Job]:
        return jobs

    beat = replace(Beat(), load_ms_p95=load_ms_p95)
    node = cast(Any, SimpleNamespace(waited_for_load=(), beat=beat, jobs=newest_jobs, adapters=tuple))
    models = OwnModels(serving=node, engine=node, registry=cast(Any, None))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(models.run)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert models.speeds == speeds


def test_an_adapter_is_not_advertised_while_withdrawals_may_be_missing() -> None:
    """Its bids were refused then, but peers still heard that it is for sale."""
    adapter = SimpleNamespace(id="0xaa")

    def refuse(_: object) -> int:
        raise AdapterRefusedError("it may have missed withdrawals")

    registry: Any = SimpleNamespace(rule_of=lambda _: 1, check_sellable=refuse)
    serving: Any = SimpleNamespace(adapters=lambda: (adapter,))
    models = OwnModels(serving=serving, engine=cast(Any, None), registry=registry)
    assert models._find_all() == ()
    assert models.not_sold == {"0xaa": "it may have missed withdrawals"}
