"""Questions about money wait for each other, but not for a verification that runs an answer once more."""

import threading
from types import SimpleNamespace
from typing import Any

import trio

from openledger_node.network.service import NetworkService


class Queries:
    """Verifies only when it is allowed to."""

    def __init__(self) -> None:
        self.is_verifying, self.may_end = threading.Event(), threading.Event()

    def answer(self, question: str, _: object) -> str:
        if question == "verify":
            self.is_verifying.set()
            assert self.may_end.wait(30)
        return question


async def test_money_does_not_wait_for_a_verification() -> None:
    """A replay takes up to a minute, and the vouchers and claims of that minute waited."""
    network: Any = SimpleNamespace(network=object(), devnet=object(), why_none=None, network_id="net")
    nothing: Any = None
    service = NetworkService(
        nothing,
        nothing,
        network,
        serving=nothing,
        engine=nothing,
        tokenizer=nothing,
        ledger=nothing,
        tell=print,
    )
    queries: Any = Queries()
    service._queries = queries
    service._ready.set()
    told: list[str] = []

    async def verify() -> None:
        told.append(await service.ask("verify", {}))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(verify)
            await trio.to_thread.run_sync(queries.is_verifying.wait, 30)
            assert await service.ask("balance", {}) == "balance"
            assert told == []
            queries.may_end.set()
    assert told == ["verify"]
