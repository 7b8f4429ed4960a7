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


class Node:
    """The engine and the requests of a node, as far as its speeds are measured on them."""

    def __init__(self, jobs: list[Job], *, load_ms_p95: float) -> None:
        self.waited_for_load: tuple[str, ...] = ()
        self._jobs = jobs
        self.beat = replace(Beat(), load_ms_p95=load_ms_p95)

    async def jobs(self, _: int) -> list[Job]:
        return self._jobs

    def adapters(self) -> tuple[()]:
        return ()


@pytest.mark.parametrize(
    ("jobs", "load_ms_p95", "speeds"),
    [
        ([], 0.0, Speeds()),
        ([], 3_200.4, Speeds(load_ms=3_201)),
        ([JOB], 0.0, MEASURED),
        ([JOB], 40.0, replace(MEASURED, load_ms=40)),
    ],
    ids=["nothing measured", "a slow disk", "no load yet", "a fast disk"],
)
async def test_a_bid_promises_the_loads_of_adapters_as_they_were_measured_here(
    autojump_clock: trio.testing.MockClock, jobs: list[Job], load_ms_p95: float, speeds: Speeds
) -> None:
    """An owner of a slow disk was called late, since each bid promised half a second."""
    node = cast(Any, Node(jobs, load_ms_p95=load_ms_p95))
    models = OwnModels(serving=node, engine=node, registry=cast(Any, None))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(models.run)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert models.speeds == speeds


def test_an_adapter_is_not_advertised_while_withdrawals_may_be_missing() -> None:
    """Its bids were refused then, but peers still heard that it is for sale."""
    adapter = SimpleNamespace(id="0xaa")

    class Registry:
        def rule_of(self, _: object) -> int:
            return 1

        def check_sellable(self, _: object) -> int:
            raise AdapterRefusedError("it may have missed withdrawals")

    serving = SimpleNamespace(adapters=lambda: (adapter,))
    models = OwnModels(serving=cast(Any, serving), engine=cast(Any, None), registry=cast(Any, Registry()))
    assert models._find_all() == ()
    assert models.not_sold == {"0xaa": "it may have missed withdrawals"}
