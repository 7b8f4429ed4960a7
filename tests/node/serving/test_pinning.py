"""Pinning in a node that runs: over its control socket's routes, into a real engine child."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from support.local_engine import child_engine

from openledger_node.api.operator import build_operator
from openledger_node.engine.engine import Engine
from openledger_node.home import Home
from openledger_node.models.adapters import Adapter, add_adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_node.models.library import list_adapters
from openledger_node.models.pins import read_pins
from openledger_node.operator.adapter_library import LibraryService
from openledger_node.serving.pinning import AdapterPins
from openledger_protocol.primitives import Digest

TIMEOUT_S = 30.0
BUDGET_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Node:
    engine: Engine
    client: httpx.AsyncClient
    pins: AdapterPins

    async def ask(self, verb: str, name: str) -> httpx.Response:
        return await self.client.post(f"/adapters/{verb}", json={"adapter": name})


@asynccontextmanager
async def running(home: Home, *, has_child: bool = True, **changes: Any) -> AsyncIterator[Node]:
    engine = child_engine(home.root)
    settings = {"dtype": "float32", "budget_bytes": BUDGET_BYTES, "base": FAKE_BASE, **changes}
    pins = AdapterPins(home, settings.pop("base"), engine, **settings)
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            if has_child:
                await nursery.start(engine.run)
            app = build_operator(None, None, nursery, pins=pins, stop=list)  # type: ignore[arg-type]
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
                yield Node(engine=engine, client=client, pins=pins)
            nursery.cancel_scope.cancel()


@pytest.fixture
def adapter(home: Home, make_adapter_folder: Callable[..., Path]) -> Adapter:
    return add_adapter(home, make_adapter_folder(), FAKE_BASE)


@pytest.mark.process
async def test_a_pinned_adapter_is_kept_at_once_and_for_the_next_start_until_it_is_unpinned_or_removed(
    home: Home, adapter: Adapter
) -> None:
    async with running(home) as node:
        answer = await node.ask("pin", adapter.name)
        assert answer.json() == {"adapter": adapter.full_name, "id": adapter.id, "is_pinned": True}
        while adapter.id not in node.engine.beat.resident:
            await trio.lowlevel.checkpoint()
        warmth = node.pins.warmth()
        assert warmth["resident"] == warmth["pinned"] == [adapter.id]
        assert 0 < warmth["resident_bytes"] < warmth["budget_bytes"] == BUDGET_BYTES
        assert read_pins(home) == (adapter.id,)
        answer = await node.ask("unpin", adapter.full_name)
        assert (answer.json()["is_pinned"], node.pins.warmth()["pinned"]) == (False, [])
        await node.ask("pin", adapter.full_name)
        await LibraryService(home, FAKE_BASE, node.pins).remove(adapter.name)
        while node.engine.beat.resident:
            await trio.lowlevel.checkpoint()
        assert node.pins.warmth()["resident_bytes"] == 0
    assert (list_adapters(home), read_pins(home)) == ([], ())


@pytest.mark.parametrize(
    ("changes", "name", "message"),
    [
        ({}, "lighthouse", "no adapter 'lighthouse' here"),
        ({"budget_bytes": 10}, "harbour", "adapter_cache_bytes is 10 B: raise it, or unpin"),
        ({"base": replace(FAKE_BASE, digest=Digest("0x" + "0" * 64))}, "harbour", "made for another base"),
    ],
)
async def test_what_cannot_be_pinned_is_refused_and_not_kept(
    home: Home, adapter: Adapter, changes: dict[str, Any], name: str, message: str
) -> None:
    assert adapter.name == "harbour"
    async with running(home, has_child=False, **changes) as node:
        answer = await node.ask("pin", name)
    assert answer.status_code == httpx.codes.BAD_REQUEST
    assert message in answer.json()["error"]["message"]
    assert read_pins(home) == ()
