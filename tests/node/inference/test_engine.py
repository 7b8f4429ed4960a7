"""The supervisor, over a real child process with the fake backend."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from openledger_node.errors import ModelError
from openledger_node.inference.backend import BackendSettings
from openledger_node.inference.backends.fake import ENDLESS
from openledger_node.inference.engine import LOSSES_MAX, Engine, EngineOptions, Lost, Order, Outcome
from openledger_node.inference.frames import Chunk, Finished, Refused
from openledger_node.inference.sequence import AdapterSource
from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

TIMEOUT_S = 30.0


@pytest.fixture
def options(tmp_path: Path) -> EngineOptions:
    return EngineOptions(
        backend="fake",
        settings=BackendSettings(
            base_folder=None, device="cpu", dtype="auto", threads=1, batch_max=8, context_max=1 << 20
        ),
        prefill_tokens_max=64,
        adapter_cache_bytes=1 << 20,
        stall_timeout_s=60.0,
        wait_policy="passive",
        log_file=tmp_path / "engine.log",
    )


@asynccontextmanager
async def running(options: EngineOptions) -> AsyncIterator[Engine]:
    engine = Engine(options)
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            yield engine
            nursery.cancel_scope.cancel()


def order(name: str, *, text: bytes = b"hello", max_tokens: int = 40, adapter: AdapterSource | None = None) -> Order:
    sampling = SamplingParams(max_tokens=max_tokens, seed=1, temperature=0)
    return Order(sequence_id=name, prompt_ids=tuple(text), sampling=sampling, adapter=adapter)


async def read(outcomes: trio.MemoryReceiveChannel[Outcome | Lost]) -> tuple[list[int], str, Outcome | Lost]:
    ids: list[int] = []
    text, last = "", None
    async for outcome in outcomes:
        if isinstance(outcome, Chunk):
            ids += outcome.ids
            text += outcome.text
        last = outcome
    assert last is not None
    return ids, text, last


async def read_until(outcomes: trio.MemoryReceiveChannel[Outcome | Lost], count: int) -> list[Chunk]:
    chunks = []
    async for outcome in outcomes:
        assert isinstance(outcome, Chunk)
        chunks.append(outcome)
        if len(chunks) == count:
            break
    return chunks


async def test_many_sequences_are_answered_and_each_as_alone(options: EngineOptions) -> None:
    names = [f"s{number}" for number in range(20)]
    async with running(options) as engine:
        channels = [engine.submit(order(name, text=name.encode())) for name in names]
        together = [(await read(channel))[:2] for channel in channels]
        alone = [(await read(engine.submit(order(name, text=name.encode()))))[:2] for name in names]
    assert together == alone
    assert engine.num_live == 0


async def test_a_killed_engine_is_restarted_and_answers_go_on_as_they_would_have(options: EngineOptions) -> None:
    async with running(options) as engine:
        undisturbed = await read(engine.submit(order("a", text=b"long" + ENDLESS, max_tokens=3000)))
        outcomes = engine.submit(order("b", text=b"long" + ENDLESS, max_tokens=3000))
        first = await read_until(outcomes, 10)
        assert engine.process_id is not None
        os.kill(engine.process_id, signal.SIGKILL)
        ids, text, last = await read(outcomes)
    assert [*(t for chunk in first for t in chunk.ids), *ids] == undisturbed[0]
    assert "".join(chunk.text for chunk in first) + text == undisturbed[1]
    assert last == Finished(sequence_id="b", reason="length")
    assert engine.num_restarts == 1


async def test_a_sequence_that_sees_too_many_engines_die_is_given_up_and_others_are_served(
    options: EngineOptions,
) -> None:
    async with running(options) as engine:
        outcomes = engine.submit(order("a", text=ENDLESS, max_tokens=1_000_000))
        for _ in range(LOSSES_MAX + 1):
            await kill_engine(engine)
        assert (await read(outcomes))[2] == Lost(sequence_id="a")
        assert isinstance((await read(engine.submit(order("b"))))[2], Finished)


async def test_a_frozen_engine_is_killed_and_its_work_goes_on(options: EngineOptions) -> None:
    async with running(replace(options, stall_timeout_s=1.0)) as engine:
        outcomes = engine.submit(order("a", text=ENDLESS, max_tokens=2000))
        first = await read_until(outcomes, 5)
        assert engine.process_id is not None
        os.kill(engine.process_id, signal.SIGSTOP)
        ids, _, last = await read(outcomes)
    assert last == Finished(sequence_id="a", reason="length")
    assert len(first) + len(ids) == 2000
    assert engine.num_restarts == 1


async def test_what_was_meant_for_a_dead_engine_is_not_sent_to_the_next(options: EngineOptions) -> None:
    """Commands queue up behind a frozen engine's full socket; each sequence must still run once."""
    async with running(options) as engine:
        alone = await read(engine.submit(order("alone", text=b"x" * 50_000 + ENDLESS, max_tokens=30)))
        assert engine.process_id is not None
        os.kill(engine.process_id, signal.SIGSTOP)
        channels = [engine.submit(order(f"s{n}", text=b"x" * 50_000 + ENDLESS, max_tokens=30)) for n in range(12)]
        await trio.testing.wait_all_tasks_blocked()
        os.kill(engine.process_id, signal.SIGKILL)
        answers = [await read(channel) for channel in channels]
    assert [ids for ids, _, _ in answers] == [alone[0]] * 12
    assert engine.num_restarts == 1


async def test_a_cancel_outlives_the_engine_that_should_have_obeyed_it(options: EngineOptions) -> None:
    async with running(options) as engine:
        outcomes = engine.submit(order("a", text=ENDLESS, max_tokens=1_000_000))
        await read_until(outcomes, 3)
        assert engine.process_id is not None
        os.kill(engine.process_id, signal.SIGSTOP)
        engine.cancel("a")
        os.kill(engine.process_id, signal.SIGKILL)
        assert (await read(outcomes))[2] == Finished(sequence_id="a", reason="cancelled")


async def test_who_only_waited_is_not_given_up_with_those_that_ran(options: EngineOptions) -> None:
    async with running(replace(options, settings=replace(options.settings, batch_max=1))) as engine:
        runs = engine.submit(order("runs", text=ENDLESS, max_tokens=1_000_000))
        waits = engine.submit(order("waits"))
        for _ in range(LOSSES_MAX + 1):
            await kill_engine(engine)
        assert (await read(runs))[2] == Lost(sequence_id="runs")
        assert isinstance((await read(waits))[2], Finished)


async def test_an_order_that_cannot_be_written_is_its_requesters_trouble_alone(options: EngineOptions) -> None:
    bad = replace(order("bad"), sampling=SamplingParams(max_tokens=5, seed=1, top_k=10**30))
    async with running(options) as engine:
        with pytest.raises(MalformedError):
            engine.submit(bad)
        assert engine.num_live == 0
        assert isinstance((await read(engine.submit(order("good"))))[2], Finished)


async def test_a_token_that_the_base_does_not_have_is_refused(options: EngineOptions) -> None:
    async with running(options) as engine:
        odd = replace(order("odd"), prompt_ids=(5, 257))
        assert isinstance((await read(engine.submit(odd)))[2], Refused)


async def test_a_reader_that_leaves_ends_its_sequence_and_no_other(options: EngineOptions) -> None:
    async with running(options) as engine:
        leaving = engine.submit(order("leaves", text=ENDLESS, max_tokens=1_000_000))
        staying = engine.submit(order("stays", text=b"x" + ENDLESS, max_tokens=500))
        await read_until(leaving, 3)
        leaving.close()
        assert (await read(staying))[2] == Finished(sequence_id="stays", reason="length")
        await _until(lambda: engine.num_live == 0)


async def test_cancel_ends_a_sequence_with_a_last_word(options: EngineOptions) -> None:
    async with running(options) as engine:
        outcomes = engine.submit(order("a", text=ENDLESS, max_tokens=1_000_000))
        await read_until(outcomes, 3)
        engine.cancel("a")
        assert (await read(outcomes))[2] == Finished(sequence_id="a", reason="cancelled")


async def test_an_adapter_that_is_no_adapter_is_refused_and_others_are_served(
    options: EngineOptions, tmp_path: Path
) -> None:
    bad = AdapterSource(id=AdapterId("0xbad"), folder=str(tmp_path), num_parameters=10)
    async with running(options) as engine:
        assert isinstance((await read(engine.submit(order("a", adapter=bad))))[2], Refused)
        assert isinstance((await read(engine.submit(order("b"))))[2], Finished)


async def test_an_adapter_over_the_whole_budget_says_what_to_raise(options: EngineOptions, tmp_path: Path) -> None:
    large = AdapterSource(id=AdapterId("0xbig"), folder=str(tmp_path), num_parameters=2 << 20)
    async with running(options) as engine:
        last = (await read(engine.submit(order("a", adapter=large))))[2]
    assert isinstance(last, Refused)
    assert "adapter_cache_bytes" in last.message


async def test_a_backend_that_cannot_open_says_why_and_is_not_tried_again(options: EngineOptions) -> None:
    engine = Engine(replace(options, backend="torch_lora"))
    with trio.fail_after(TIMEOUT_S), pytest.RaisesGroup(pytest.RaisesExc(ModelError, match="real base")):
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
    assert engine.num_restarts == 0


async def test_the_child_ends_with_its_supervisor(options: EngineOptions) -> None:
    async with running(options) as engine:
        process_id = engine.process_id
        assert process_id is not None
    with pytest.raises(ProcessLookupError):
        os.kill(process_id, 0)


async def kill_engine(engine: Engine) -> None:
    """Kill the engine once it runs a sequence, and return when that was noticed."""
    await _until(lambda: engine.state == "ready" and engine.beat.num_running == 1)
    before = engine.num_restarts
    assert engine.process_id is not None
    os.kill(engine.process_id, signal.SIGKILL)
    await _until(lambda: engine.num_restarts > before)


async def _until(is_reached: Callable[[], bool]) -> None:
    """Let everybody else run until something is so; the deadline of `running` ends a wait in vain."""
    while not is_reached():
        await trio.lowlevel.checkpoint()


async def test_an_engine_that_was_idle_for_long_is_not_taken_for_frozen(options: EngineOptions) -> None:
    async with running(replace(options, stall_timeout_s=5.0)) as engine:
        engine._heard_at_s -= 1000.0  # as if nobody had asked for that long
        assert (await read(engine.submit(order("a", text=ENDLESS, max_tokens=20_000))))[2] == Finished(
            sequence_id="a", reason="length"
        )
    assert engine.num_restarts == 0


async def test_the_figures_are_back_at_zero_when_the_last_reader_has_left(options: EngineOptions) -> None:
    async with running(options) as engine:
        outcomes = engine.submit(order("a", text=ENDLESS, max_tokens=1_000_000))
        await _until(lambda: engine.beat.num_running == 1)
        outcomes.close()
        await _until(lambda: engine.beat.num_running == 0)
