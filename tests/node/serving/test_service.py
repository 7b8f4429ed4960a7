"""The desk over the fake backend and a real ledger; over a real engine child where it is loaded and unloaded."""

import json
import os
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from support.faulty_plug import FaultyPlug
from support.local_engine import LocalEngine, engine_options
from support.peft_folders import pair, write_adapter

from openledger_node.engine.engine import Engine
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.errors import LedgerError
from openledger_node.home import Home
from openledger_node.ledger import store as store_module
from openledger_node.ledger.ledger import open_ledger
from openledger_node.models.adapters import MANIFEST_FILE, Adapter, add_adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_node.models.library import SETTLED_NS
from openledger_node.serving import service
from openledger_node.serving.admission import Admitted
from openledger_node.serving.service import Outcome, Serving, open_channel
from openledger_protocol.errors import AdapterRefusedError, OverloadedError, UnavailableError, UnknownModelError
from openledger_protocol.inference import Completion, InferenceRequest, SamplingParams, TokenChunk
from openledger_protocol.primitives import Digest, RequestId

QUEUE_MAX = 3
TIMEOUT_S = 30.0


@asynccontextmanager
async def open_desk(root: Path, **of_a_child: Any) -> AsyncIterator[tuple[Serving, trio.Nursery]]:
    """Open a desk; with options of its own, the engine is a real child."""
    home = Home(root)
    engine: Any = Engine(engine_options(**of_a_child)) if of_a_child else LocalEngine()
    ledger = open_ledger(home.ledger("local"))
    clock = iter(range(1, 1 << 60, 1_000_000))
    desk = Serving(
        home=home,
        base=FAKE_BASE,
        engine=engine,
        tokenizer=ByteTokenizer(),
        ledger=ledger,
        queue_max=QUEUE_MAX,
        now_ns=lambda: next(clock),
    )
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            yield desk, nursery
            nursery.cancel_scope.cancel()
    ledger.close()


def request(name: str, *, prompt: str = "hello", max_tokens: int = 30, model: str = "fake") -> InferenceRequest:
    sampling = SamplingParams(max_tokens=max_tokens, seed=7, temperature=0)
    return InferenceRequest(request_id=RequestId(name), model=model, prompt=prompt, sampling=sampling)


def begin(desk: Serving, nursery: trio.Nursery, admitted: Admitted) -> "trio.MemoryReceiveChannel[Outcome]":
    send, receive = open_channel(admitted.request)
    nursery.start_soon(desk.handle, admitted, send)
    return receive


async def ask(desk: Serving, asked: InferenceRequest) -> list[Outcome]:
    admitted = await desk.admit(asked)
    send, receive = open_channel(admitted.request)
    await desk.handle(admitted, send)
    return [outcome async for outcome in receive]


async def test_an_answer_is_chunks_then_one_completion_and_a_closed_row(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as (desk, _):
        *chunks, last = await ask(desk, request("r1"))
        (job,) = await desk.jobs(10)
    assert isinstance(last, Completion)
    assert all(isinstance(chunk, TokenChunk) for chunk in chunks)
    assert "".join(chunk.text for chunk in chunks if isinstance(chunk, TokenChunk)) == last.text
    assert (job.request_id, job.state, job.finish_reason) == ("r1", "completed", last.finish_reason)
    assert (job.tokens_in, job.tokens_out) == (5, len(last.text.encode()))
    assert job.first_token_ns is not None
    assert job.ended_ns is not None


async def test_a_request_looks_at_as_many_files_with_a_hundred_adapters_as_with_four(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[object] = []
    for name in ("stat", "lstat", "listdir", "scandir", "open"):
        monkeypatch.setattr(os, name, _counted(getattr(os, name), looked))
    counts = []
    for number in (4, 100):
        home = Home(tmp_path / str(number))
        adapter = add_adapter(home, write_adapter(tmp_path / f"harbour-{number}"), FAKE_BASE, name="harbour")
        multiply(adapter, number)
        async with open_desk(home.root) as (desk, _):
            await trio.sleep(2 * SETTLED_NS / 1e9)
            await desk.examine(request("first", model="harbour"))
            before = len(looked)
            for model in ("harbour", adapter.full_name, "fake:harbour", "fake"):
                await desk.examine(request("next", model=model))
            assert desk.catalogue.with_id(adapter.id) == adapter
            counts.append(len(looked) - before)
            assert len(desk.adapters()) == number
    assert counts[0] == counts[1] < 40


def _counted(function: Callable[..., Any], calls: list[object]) -> Callable[..., Any]:
    def counting(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        return function(*arguments, **named)

    return counting


def multiply(adapter: Adapter, number: int) -> None:
    """Put copies of an adapter under other names beside it, until there are `number`."""
    manifest = json.loads((adapter.folder / MANIFEST_FILE).read_text())
    for copy in range(number - 1):
        folder = adapter.folder.with_name(f"copy-{copy}")
        shutil.copytree(adapter.folder, folder)
        (folder / MANIFEST_FILE).write_text(json.dumps({**manifest, "name": f"copy-{copy}"}))


@pytest.mark.process
@pytest.mark.parametrize("payer", ["", "0xstranger"])
async def test_a_stranger_who_is_refused_learns_no_folder_and_no_setting(
    tmp_path: Path, payer: str, caplog: pytest.LogCaptureFixture
) -> None:
    home = Home(tmp_path / "secret-folder")
    tensors = pair(rank=64, d_in=16_384, d_out=65_536)
    add_adapter(home, write_adapter(tmp_path / "large", tensors=tensors, r=64), FAKE_BASE, name="large")
    async with open_desk(home.root, backend="fake") as (desk, _):
        admitted = await desk.examine(request("r", model="large"), payer=payer)
        desk.take_place(admitted)
        send, receive = open_channel(admitted.request)
        await desk.handle(admitted, send)
        (last,) = [outcome async for outcome in receive]
    assert isinstance(last.error, AdapterRefusedError)
    is_told = "adapter_cache_bytes" in str(last.error) or "secret-folder" in str(last.error)
    assert is_told == (payer == "")
    assert payer == "" or "adapter_cache_bytes" in caplog.text, "the operator reads it in the log"


async def test_a_requester_that_leaves_in_the_middle_is_recorded_and_others_go_on(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as (desk, nursery):
        leaving = await desk.admit(request("leaves", prompt="long...", max_tokens=100_000))
        staying = await desk.admit(request("stays", prompt="also...", max_tokens=300))
        receive_a, receive_b = (begin(desk, nursery, each) for each in (leaving, staying))
        for _ in range(3):
            await receive_a.receive()
        receive_a.close()
        stayed = [outcome async for outcome in receive_b]
        await desk.wait_idle()
        jobs = {job.request_id: job for job in await desk.jobs(10)}
    left = jobs[RequestId("leaves")]
    assert (left.state, left.finish_reason) == ("completed", "cancelled")
    assert 3 <= left.tokens_out < 100_000
    assert isinstance(stayed[-1], Completion)
    assert len(stayed) == 301


async def test_a_desk_that_is_cut_off_still_records_what_was_done(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as (desk, _):
        admitted = await desk.admit(request("cut", prompt="long...", max_tokens=100_000))
        async with trio.open_nursery() as inner:
            await begin(desk, inner, admitted).receive()
            inner.cancel_scope.cancel()
        (job,) = await desk.jobs(10)
    assert (job.state, job.finish_reason) == ("completed", "cancelled")
    assert desk.num_live == 0


async def test_the_queue_is_bounded_and_a_place_comes_free_again(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as (desk, nursery):
        places = [await desk.admit(request(f"r{n}")) for n in range(QUEUE_MAX)]
        with pytest.raises(OverloadedError):
            await desk.admit(request("one too many"))
        assert [outcome async for outcome in begin(desk, nursery, places[0])]
        await desk.admit(request("fits now"))


async def test_a_draining_desk_takes_nothing_and_wakes_who_waits_for_its_end(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as (desk, _):
        assert desk.is_ready
        desk.drain()
        assert not desk.is_ready
        with pytest.raises(UnavailableError):
            await desk.admit(request("late"))
        await desk.wait_idle()


async def unload(desk: Serving) -> None:
    while desk._engine.process_id is not None:  # noqa: ASYNC110  # nothing tells when
        await trio.sleep(0.01)


@pytest.mark.process
async def test_an_unloaded_desk_is_ready_and_the_next_request_that_is_paid_for_waits_for_the_reload(
    tmp_path: Path,
) -> None:
    """Free calls and unpaid streams would otherwise keep the owner's card full."""
    async with open_desk(tmp_path, unload_after_s=0.1) as (desk, _):
        assert desk.loading is None
        loaded = desk._engine.process_id
        await unload(desk)
        with pytest.raises(ProcessLookupError):
            os.kill(loaded, 0)
        for number in range(5):
            await desk.examine(request(f"r{number}"), payer="0xpayer")  # the check before the first voucher
        await trio.sleep(0.2)
        assert (desk._engine.state, desk._engine.process_id) == ("unloaded", None)
        assert desk.is_ready
        assert (desk.loading or "").startswith("the engine is loading the base")
        for name in ("waits", "does not"):
            assert isinstance((await ask(desk, request(name)))[-1], Completion)
        assert "waits" in desk.waited_for_load, "else the speed of prompts would count the load"


@pytest.mark.process
async def test_while_the_base_cannot_be_loaded_an_owner_learns_why_and_a_payer_only_that_it_is_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug = FaultyPlug(tmp_path / "plug", monkeypatch)
    async with open_desk(tmp_path, backend="faulty", unload_after_s=0.1) as (desk, _):
        await unload(desk)
        plug.fail("open", "CUDA out of memory. A game has it.")
        (first,) = await ask(desk, request("r1"))
        assert isinstance(first.error, UnavailableError)
        assert "close the programs that use the GPU" in first.error.message
        assert not desk.is_ready
        with pytest.raises(UnavailableError, match="send the request to another node"):
            await desk.examine(request("r2"), payer="0xpayer")
        plug.mend()
        assert isinstance((await ask(desk, request("r3")))[-1], Completion)
        assert desk.is_ready


async def test_a_refused_request_leaves_no_row_and_no_place(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as (desk, _):
        with pytest.raises(UnknownModelError):
            await desk.admit(request("r", model="nobody"))
        assert await desk.jobs(10) == []
        assert desk.num_live == 0


async def test_billed_tokens_are_those_of_the_delivered_text(tmp_path: Path) -> None:
    """The end token is generated and not delivered: it is not billed."""
    async with open_desk(tmp_path) as (desk, _):
        last = (await ask(desk, request("r", prompt="anything", max_tokens=5000)))[-1]
    assert (last.finish_reason, last.tokens_out) == ("stop", len(last.ids) - 1)


async def test_an_adapter_of_another_base_is_neither_listed_nor_served(tmp_path: Path) -> None:
    home, other = Home(tmp_path), replace(FAKE_BASE, name="other", digest=Digest("0x" + "1" * 64))
    add_adapter(home, write_adapter(tmp_path / "foreign"), other)
    ours = add_adapter(home, write_adapter(tmp_path / "ours", seed=1), FAKE_BASE)
    async with open_desk(tmp_path) as (desk, _):
        assert desk.adapters() == [ours]
        with pytest.raises(UnknownModelError):
            await desk.admit(request("r", model="foreign"))
        assert isinstance((await ask(desk, request("s", model="ours")))[-1], Completion)


@pytest.mark.process
@pytest.mark.parametrize("is_given_up", [False, True], ids=["cut off", "given up"])
async def test_an_answer_that_is_cut_off_ends_with_its_last_word_and_one_that_is_given_up_before_what_was_not_read(
    tmp_path: Path, is_given_up: bool
) -> None:
    async with open_desk(tmp_path, backend="fake") as (desk, nursery):
        admitted = await desk.admit(request("r", prompt="long...", max_tokens=1 << 19))
        receive = begin(desk, nursery, admitted)
        read = [await receive.receive()]
        time.sleep(0.5)  # noqa: ASYNC251  # the engine goes on meanwhile
        desk.give_up() if is_given_up else desk.cut_off()
        read += [outcome async for outcome in receive]
    last = read.pop()
    assert last.finish_reason == "cancelled"
    assert last.text == "".join(outcome.text for outcome in read if isinstance(outcome, TokenChunk))
    assert len(read) < 100 or not is_given_up, "thousands wait to be read"


async def test_a_request_that_cannot_be_written_down_is_refused_and_the_node_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "BUSY_TIMEOUT_S", 0.01)
    async with open_desk(tmp_path) as (desk, _):
        with closing(sqlite3.connect(Home(tmp_path).ledger("local"))) as other:
            other.execute("BEGIN IMMEDIATE")
            (refusal,) = await ask(desk, request("refused"))
            other.rollback()
        assert isinstance(refusal.error, UnavailableError)
        assert desk.num_live == 0
        assert isinstance((await ask(desk, request("served")))[-1], Completion)
        assert [job.request_id for job in await desk.jobs(10)] == ["served"]


async def test_a_row_that_cannot_be_closed_at_once_is_closed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "BUSY_TIMEOUT_S", 0.01)
    async with open_desk(tmp_path) as (desk, nursery):
        admitted = await desk.admit(request("r", prompt="long...", max_tokens=2000))
        receive = begin(desk, nursery, admitted)
        await receive.receive()
        with closing(sqlite3.connect(Home(tmp_path).ledger("local"))) as other:
            other.execute("BEGIN IMMEDIATE")
            for _ in range(1999):
                await receive.receive()
            other.rollback()
        assert isinstance(await receive.receive(), Completion)
        assert [job.state for job in await desk.jobs(10)] == ["completed"]


async def test_the_length_of_a_long_answer_is_noted_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[dict[str, int]] = []
    monkeypatch.setattr(service, "NOTE_NS", 10_000_000)  # ten readings of this test's clock
    async with open_desk(tmp_path) as (desk, _):
        write = desk._ledger.jobs.note_lengths

        def note(lengths: dict[str, int]) -> None:
            noted.append(lengths)
            write(lengths)

        monkeypatch.setattr(desk._ledger.jobs, "note_lengths", note)
        await ask(desk, request("r1", max_tokens=60))
        (job,) = await desk.jobs(10)
    lengths = [each["r1"] for each in noted]
    assert lengths == sorted(set(lengths)), "each note is longer than the one before"
    assert 2 <= len(lengths) <= 20, "far fewer writes than tokens"
    assert (job.state, job.tokens_out) == ("completed", 60)


async def test_a_note_that_a_full_disk_refuses_disturbs_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise LedgerError("no space left")

    monkeypatch.setattr(service, "NOTE_NS", 10_000_000)
    async with open_desk(tmp_path) as (desk, _):
        monkeypatch.setattr(desk._ledger.jobs, "note_lengths", refuse)
        *_, last = await ask(desk, request("r1"))
    assert isinstance(last, Completion)


def test_short_answers_are_not_noted() -> None:
    now_ns = iter([50, 50 + service.NOTE_NS - 1, 50 + service.NOTE_NS])
    running = service.RunningAnswers(lambda: next(now_ns))
    admitted = Admitted(request=request("r1"), prompt_ids=(1,), adapter=None)
    running.add(admitted, service.AnswerProgress(began_ns=0, ids=[1, 2]))
    assert [running.lengths_to_note() for _ in range(2)] == [{}, {"r1": 2}]
