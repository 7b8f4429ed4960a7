"""Questions about money wait for each other, but not for those that only read and may take long."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from openledger_node.network.service import NetworkService


class Queries:
    """Answers a slow question only when it is allowed to."""

    def __init__(self, slow: str) -> None:
        self._slow = slow
        self.is_busy, self.may_end = threading.Event(), threading.Event()

    def answer(self, question: str, _: object) -> str:
        if question == self._slow:
            self.is_busy.set()
            assert self.may_end.wait(30)
        return question


@pytest.mark.parametrize("slow", ["verify", "datanets", "datanet_board"])
async def test_money_does_not_wait_for_a_slow_question(slow: str) -> None:
    """To run an answer once more takes up to a minute, and the vouchers and claims of that minute waited.

    The Datanets screen asks the other two every 30 seconds, and they read all versions that are here.
    """
    network: Any = SimpleNamespace(network=object(), devnet=object(), why_none=None, network_id="net")
    nothing: Any = None
    parts: Any = dict.fromkeys(("serving", "engine", "tokenizer", "ledger"))
    service = NetworkService(nothing, nothing, network, tell=print, **parts)
    queries: Any = Queries(slow)
    service._queries = queries
    service._ready.set()
    told: list[str] = []

    async def ask_slowly() -> None:
        told.append(await service.ask(slow, {}))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_slowly)
            await trio.to_thread.run_sync(queries.is_busy.wait, 30)
            assert await service.ask("balance", {}) == "balance"
            assert told == []
            queries.may_end.set()
    assert told == [slow]
