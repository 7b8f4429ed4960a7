"""A disk that is full: each request is refused in plain words, the node lives, and what has happened is kept."""

import errno
import json
import os
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import httpx
import pytest
import trio
from support.apis import KEY, open_api
from support.market_world.market import open_market
from support.market_world.requests import FIRST, network_request, purchase
from support.market_world.terms import CHANNEL, CHUNK_TOKENS

from openledger_node.api.operator import build_operator
from openledger_node.chain.dev.constants import DEVELOPMENT_WINDOWS
from openledger_node.config_tables import ChainConfig
from openledger_node.contained import contained
from openledger_node.errors import DiskError, LedgerError
from openledger_node.home import Home, write_private
from openledger_node.market.router import Router
from openledger_node.models.sampling_defaults import NEUTRAL
from openledger_node.network.service import BUSY_S, LOOKS, DefaultsFollower, NetworkService
from openledger_node.serving.idle_count import IdleCount
from openledger_node.settlement.session import Waits
from openledger_protocol.inference import InferenceRequest

FULL = OSError(errno.ENOSPC, "No space left on device", "/home/node/networks/x/guest/keys/wallet.json")
WORDS = "the disk of /home/node/networks/x/guest/keys is full: free some space"
ASKED = {"model": "fake", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}


def fail(error: BaseException) -> Callable[..., NoReturn]:
    def raise_it(*_: object, **__: object) -> NoReturn:
        raise error

    return raise_it


def afail(error: BaseException) -> Callable[..., Any]:
    async def raise_it(*_: object, **__: object) -> NoReturn:
        await trio.lowlevel.checkpoint()
        raise error

    return raise_it


FAILURES = [
    pytest.param(FULL, WORDS, id="disk"),
    pytest.param(LedgerError("the ledger can't be written: free some space"), "free some space", id="ledger"),
    pytest.param(ExceptionGroup("of a nursery", [FULL]), WORDS, id="group"),
    pytest.param(KeyError("our own mistake"), "its log says", id="mistake"),
]


OPERATOR = SimpleNamespace(parts=SimpleNamespace(serving=SimpleNamespace(sampling_defaults=NEUTRAL)))


@pytest.mark.parametrize(("error", "words"), FAILURES)
async def test_no_failure_of_a_guests_request_ends_the_node(error: Exception, words: str) -> None:
    class Network:
        ask_as_guest = staticmethod(afail(error))

    async with trio.open_nursery() as nursery:  # as in the daemon: an error in here ends everything
        app = build_operator(OPERATOR, Network(), nursery, pins=None, stop=list)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://node") as client:
            answer = await client.post("/guest", json=ASKED)
    (line,) = answer.text.splitlines()
    assert words in json.loads(line)["error"]["message"]


async def test_a_mistake_of_ours_is_logged_without_words_of_a_request(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(prompt: str) -> None:
        await trio.lowlevel.checkpoint()
        try:
            {}[prompt]
        except KeyError as error:
            raise ValueError(f"no reply to {prompt}") from error

    await contained(answer, "a secret question")
    assert "ValueError" in caplog.text
    assert "in answer" in caplog.text
    assert "secret" not in caplog.text


async def test_every_control_route_explains_a_full_disk() -> None:
    class Full:
        def __getattr__(self, name: str) -> Any:
            return fail(FULL)

        parts = limits = prices = status = property(lambda self: self)

    tried = []
    async with trio.open_nursery() as nursery:
        app = build_operator(Full(), Full(), nursery, pins=Full(), stop=list)  # type: ignore[arg-type]
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
            for route in app.routes:
                path = route.path.replace("{question}", "stake")  # type: ignore[attr-defined]
                if path in ("/stop", "/guest", "/doctor/chain"):  # the last one answers with findings
                    continue
                (method,) = route.methods  # type: ignore[attr-defined]
                answer = await client.request(method, path, json={"adapter": "a", "folder": "f"})
                assert (answer.status_code, WORDS in answer.text) == (400, True), (path, answer.text)
                tried.append(path)
    assert len(tried) > 10


async def test_the_public_api_explains_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.apis.EmptyDoor.admit", afail(FULL))
    async with open_api() as api, api.client() as client:
        answer = await client.post("/v1/chat/completions", json=ASKED, headers={"Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 503
    assert WORDS in answer.json()["error"]["message"]


async def test_contained_work_lets_a_cancellation_through() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(contained, trio.sleep_forever)
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert nursery.cancel_scope.cancelled_caught


@pytest.mark.parametrize("step", ["start", "answer", "complete"])
async def test_a_failed_record_ends_one_answer(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_market(tmp_path) as market, trio.open_nursery() as nursery:
        ledger = market.buyer.ledger
        buying = BoughtFrom(market, FULL if step == "answer" else None)
        router = Router(market.seller.serving, ledger, lambda: buying, is_serving=False)  # type: ignore[arg-type,return-value]
        if step != "answer":
            monkeypatch.setattr(ledger.jobs, step, fail(LedgerError("the disk is full")))
        send, receive = trio.open_memory_channel[Any](1_000)
        admitted = await router.admit(network_request().request)
        nursery.start_soon(router.handle, admitted, send)
        outcomes = [outcome async for outcome in receive]
        assert len(outcomes) >= 1, "its reader learns how it ended"
        assert router.num_live == 0


class BoughtFrom:
    """A network whose only seller answers, or whose disk is full."""

    def __init__(self, market: Any, error: Exception | None) -> None:
        self._market, self._error = market, error

    async def look_for(self, name: str) -> None:
        """Nobody else sells it."""

    def resolve(self, request: InferenceRequest) -> Any:
        return network_request(str(request.prompt))

    async def answer(self, requested: Any, show: Any) -> Any:
        if self._error:
            raise self._error
        return await self._market.buyer.requester.answer(requested, show)


async def test_a_voucher_that_is_not_stored_pays_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next voucher would cover the lost answer too, which its node never heard of."""
    async with open_market(tmp_path) as market:
        channels = market.buyer.ledger.channels
        with monkeypatch.context() as full:
            full.setattr(channels, "raise_ceiling", fail(LedgerError("the disk is full")))
            with pytest.raises(LedgerError):
                await market.buy(purchase("r1"))
        await market.buy(purchase("r2", max_tokens=CHUNK_TOKENS))
        row = channels.find(CHANNEL)
    assert row is not None
    assert row.ceiling_wei == FIRST


async def test_a_receipt_waits_for_room_on_the_disk_and_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """As long as the node runs: ten seconds were all it had, and then the delivery was a gift."""
    async with open_market(tmp_path) as market:
        receipts = market.seller.ledger.receipts
        commit = receipts.commit
        monkeypatch.setattr(receipts, "commit", fail(LedgerError("the disk is full")))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(buy_all_the_same, market)
            await trio.sleep(120)
            assert market.seller.ledger.receipts.newest(limit=10) == []
            monkeypatch.setattr(receipts, "commit", commit)
        await market.seller.wait_served(1)
        (row,) = market.seller.ledger.receipts.newest(limit=10)
        assert row.receipt.work.request_id == purchase("r1").request_id
        assert market.seller.serving.num_live == 0


async def buy_all_the_same(market: Any) -> None:
    with suppress(Exception):
        await market.buy(purchase("r1"))


async def test_a_node_that_stops_leaves_an_unwritten_receipt_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_market(tmp_path) as market:
        monkeypatch.setattr(market.seller.ledger.receipts, "commit", fail(LedgerError("the disk is full")))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(buy_all_the_same, market)
            await trio.sleep(60)
            market.seller.serving.drain()
            with trio.fail_after(5):
                await market.seller.wait_served(1)
            nursery.cancel_scope.cancel()


async def test_a_row_that_cannot_be_closed_never_ends_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_market(tmp_path) as market:
        jobs = market.seller.ledger.jobs
        complete = jobs.complete
        monkeypatch.setattr(jobs, "complete", fail(LedgerError("the disk is full")))
        bought = await market.buy(purchase("r1"))
        assert bought.receipt.amount_wei > 0
        await trio.sleep(120)
        monkeypatch.setattr(jobs, "complete", complete)
        await market.seller.serving.wait_idle()
        assert [job.state for job in jobs.newest(limit=10)] == ["completed"]


async def test_the_networks_steps_go_on_after_a_full_disk_at_the_pace_of_a_busy_node(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    failing: list[Exception | None] = [None, FULL, LedgerError("the disk is full"), None]
    looked_s: list[float] = []

    class Session:
        network = type("N", (), {"is_development": False})
        windows = DEVELOPMENT_WINDOWS

    def step(*_: object) -> Waits:
        looked_s.append(trio.from_thread.run_sync(trio.current_time))
        if failing and (error := failing.pop(0)):
            raise error
        return "nothing"

    service = NetworkService.__new__(NetworkService)
    service._thread, service._streams = trio.CapacityLimiter(1), IdleCount()
    service._open_seller_late = None
    service.config = type("C", (), {"market": None, "chain": ChainConfig()})()
    service._home, service._tell = Home(Path("/nowhere")), print
    service._step = step  # type: ignore[method-assign]
    monkeypatch.setattr(DefaultsFollower, "step", lambda *_: None)
    with trio.move_on_after(30) as waiting:
        await service._step_until_cancelled(Session())  # type: ignore[arg-type]
    assert waiting.cancelled_caught
    idle_s = DEVELOPMENT_WINDOWS.epoch_s / LOOKS
    pauses_s = [round(after - before, 1) for before, after in pairwise(looked_s)]
    assert pauses_s[:4] == [idle_s, BUSY_S, BUSY_S, idle_s]


def test_a_private_file_on_a_full_disk_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "node.toml"
    write_private(file, "before", is_new=False)
    monkeypatch.setattr(os, "fsync", fail(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(DiskError, match=f"the disk of {tmp_path} is full: free some space"):
        write_private(file, "after", is_new=False)
    assert [each.name for each in tmp_path.iterdir()] == ["node.toml"]
    assert file.read_text() == "before"
