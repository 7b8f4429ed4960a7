"""A buyer whose chain is silent: its requests wait, and its ledger and engine still get threads."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from support.market_world.terms import GENERATION

from openledger_node.network.buying import _backing
from openledger_protocol.primitives import AdapterId, Address, Wei

NODE, ADAPTER = Address("0x" + "22" * 20), AdapterId("0x" + "33" * 32)
WITHIN_S = 20


@pytest.mark.parametrize("question", ["channel_with", "find_entry"])
async def test_requests_that_wait_for_a_silent_chain_leave_threads_to_others(question: str) -> None:
    is_over = threading.Event()

    def wait(*_: object) -> None:
        is_over.wait(2 * WITHIN_S)

    session: Any = SimpleNamespace(
        overclaims=SimpleNamespace(check=wait),
        wrong_shares=SimpleNamespace(check=wait),
        network=SimpleNamespace(network="test"),
        accounts=SimpleNamespace(wallet=NODE, authorizer=NODE),
        ledger=SimpleNamespace(channels=SimpleNamespace(of_payer=lambda _: [])),
        deployment=SimpleNamespace(entry=wait),
    )
    backing = _backing(session, Wei(1), SimpleNamespace(find=None))  # type: ignore[arg-type]
    num_threads = int(trio.to_thread.current_default_thread_limiter().total_tokens)

    async def ask() -> None:
        try:
            if question == "find_entry":
                await backing.find_entry(ADAPTER)
            else:
                await backing.channel_with(NODE, GENERATION)
        except Exception:
            assert is_over.is_set()

    async with trio.open_nursery() as nursery:
        for _ in range(num_threads + 1):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        try:
            with trio.fail_after(WITHIN_S):
                await trio.to_thread.run_sync(lambda: None)
        finally:
            is_over.set()
            nursery.cancel_scope.cancel()
