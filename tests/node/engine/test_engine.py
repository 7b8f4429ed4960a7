"""The supervisor, over a real child process with the fake backend."""

import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing
from support.gguf_stores import write_gguf
from support.local_engine import SETTINGS, engine_options, order, running
from support.peft_folders import write_adapter

from openledger_node.backends.fake import BLOCK_BYTES, ENDLESS
from openledger_node.engine.backend import BLOCK_TOKENS
from openledger_node.engine.engine import LOSSES_MAX, Engine, EngineOptions, Outcome, SequenceLost
from openledger_node.engine.frames import Beat, EngineChunk, Finished, Refused
from openledger_node.engine.supervision import EngineLimits, Vitals, why_kill
from openledger_node.errors import ModelError
from openledger_node.home import Home
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.models.download import pull_base
from openledger_protocol.errors import MalformedError, RequestTooLongError
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

pytestmark = pytest.mark.process


@pytest.fixture
def options() -> EngineOptions:
    return engine_options(settings=replace(SETTINGS, batch_max=8))


def serving(options: EngineOptions) -> AbstractAsyncContextManager[Engine]:
    return running(Engine(options))


def send(number: signal.Signals, engine: Engine) -> None:
    os.kill(engine.process_id, number)


def source(folder: Path) -> AdapterSource:
    return AdapterSource(id=AdapterId(f"0x{folder.name}"), folder=str(folder))


async def read(
    outcomes: trio.MemoryReceiveChannel[Outcome | SequenceLost],
) -> tuple[list[int], str, Outcome | SequenceLost]:
    seen = [outcome async for outcome in outcomes]
    chunks = [outcome for outcome in seen if isinstance(outcome, EngineChunk)]
    return [token for chunk in chunks for token in chunk.ids], "".join(chunk.text for chunk in chunks), seen[-1]


async def read_until(outcomes: trio.MemoryReceiveChannel[Outcome | SequenceLost], count: int) -> list[EngineChunk]:
    chunks = []
    async for outcome in outcomes:
        assert isinstance(outcome, EngineChunk)
        chunks.append(outcome)
        if len(chunks) == count:
            break
    return chunks


async def test_a_killed_engine_is_restarted_and_answers_go_on_as_they_would_have(options: EngineOptions) -> None:
    async with serving(options) as engine:
        undisturbed = await read(engine.submit(order("a", text=b"long" + ENDLESS, max_tokens=3000)))
        outcomes = engine.submit(order("b", text=b"long" + ENDLESS, max_tokens=3000))
        first = await read_until(outcomes, 10)
        send(signal.SIGKILL, engine)
        ids, text, last = await read(outcomes)
    assert [*(t for chunk in first for t in chunk.ids), *ids] == undisturbed[0]
    assert "".join(chunk.text for chunk in first) + text == undisturbed[1]
    assert last == Finished(sequence_id="b", reason="length")
    assert engine.num_restarts == 1


async def test_a_sequence_that_saw_too_many_engines_die_is_given_up_and_one_that_only_waited_is_not(
    options: EngineOptions,
) -> None:
    async with serving(replace(options, settings=replace(options.settings, batch_max=1))) as engine:
        runs = engine.submit(order("runs", text=ENDLESS, max_tokens=1_000_000))
        waits = engine.submit(order("waits"))
        for _ in range(LOSSES_MAX + 1):
            await _until(lambda: engine.state == "ready" and engine.beat.num_running == 1)
            await kill_engine(engine)
        assert (await read(runs))[2] == SequenceLost(sequence_id="runs")
        assert isinstance((await read(waits))[2], Finished)


async def test_a_cancel_and_an_allowance_outlive_the_engine_that_should_have_obeyed_them(
    options: EngineOptions,
) -> None:
    async with serving(options) as engine:
        cancelled = engine.submit(order("cancelled", text=ENDLESS, max_tokens=1_000_000))
        allowed = engine.submit(replace(order("allowed", text=ENDLESS, max_tokens=50), num_allowed=10))
        await read_until(cancelled, 3)
        await read_until(allowed, 10)
        send(signal.SIGSTOP, engine)
        engine.cancel("cancelled")
        engine.allow("allowed", 50)
        send(signal.SIGKILL, engine)
        assert (await read(cancelled))[2] == Finished(sequence_id="cancelled", reason="cancelled")
        assert (await read(allowed))[2] == Finished(sequence_id="allowed", reason="length")


async def test_a_frozen_engine_is_killed_and_its_work_goes_on(options: EngineOptions) -> None:
    async with serving(replace(options, stall_timeout_s=1.0)) as engine:
        outcomes = engine.submit(order("a", text=ENDLESS, max_tokens=2000))
        first = await read_until(outcomes, 5)
        send(signal.SIGSTOP, engine)
        ids, _, last = await read(outcomes)
    assert last == Finished(sequence_id="a", reason="length")
    assert len(first) + len(ids) == 2000
    assert engine.num_restarts == 1


async def test_what_was_meant_for_a_dead_engine_is_not_sent_to_the_next(options: EngineOptions) -> None:
    """Commands queue up behind a frozen engine's full socket; each sequence must still run once."""
    async with serving(options) as engine:
        alone = await read(engine.submit(order("alone", text=b"x" * 50_000 + ENDLESS, max_tokens=30)))
        send(signal.SIGSTOP, engine)
        channels = [engine.submit(order(f"s{n}", text=b"x" * 50_000 + ENDLESS, max_tokens=30)) for n in range(12)]
        await trio.testing.wait_all_tasks_blocked()
        send(signal.SIGKILL, engine)
        answers = [await read(channel) for channel in channels]
    assert [ids for ids, _, _ in answers] == [alone[0]] * 12
    assert engine.num_restarts == 1


async def test_a_reader_that_leaves_ends_its_sequence_and_no_other(options: EngineOptions) -> None:
    async with serving(options) as engine:
        leaving = engine.submit(order("leaves", text=ENDLESS, max_tokens=1_000_000))
        staying = engine.submit(order("stays", text=b"x" + ENDLESS, max_tokens=500))
        await read_until(leaving, 3)
        leaving.close()
        assert (await read(staying))[2] == Finished(sequence_id="stays", reason="length")
        await _until(lambda: engine.num_live == 0)


async def test_an_order_that_cannot_run_is_refused_and_others_are_served(
    options: EngineOptions, tmp_path: Path
) -> None:
    bad = AdapterSource(id=AdapterId("0xbad"), folder=str(tmp_path))
    small = replace(options.settings, kv_cache_bytes=4 * BLOCK_BYTES)
    async with serving(replace(options, settings=small)) as engine:
        unwritable = SamplingParams(max_tokens=5, seed=1, top_k=10**30)
        with pytest.raises(MalformedError):
            engine.submit(replace(order("unwritable"), sampling=unwritable))
        assert engine.num_live == 0
        unknown_token = replace(order("unknown"), prompt_ids=(5, 257))
        for refused in (unknown_token, order("no adapter", adapter=bad)):
            assert isinstance((await read(engine.submit(refused)))[2], Refused)
        long = (await read(engine.submit(order("long", max_tokens=4 * BLOCK_TOKENS))))[2]
        assert long.code == RequestTooLongError.code
        assert "kv_cache_bytes" in long.message
        assert isinstance((await read(engine.submit(order("good"))))[2], Finished)


async def test_a_base_whose_file_was_replaced_is_not_loaded_under_its_old_digest(
    options: EngineOptions, home: Home
) -> None:
    file = write_gguf(home.root / "tiny.gguf")
    base = pull_base(home, str(file), source=None, report=lambda _: None)
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.RaisesGroup(pytest.RaisesExc(ModelError, match="is not the file that tiny")):
        async with serving(replace(options, settings=replace(options.settings, base_folder=str(base.folder)))):
            pass


async def kill_engine(engine: Engine) -> None:
    """Kill the engine, and return when that was noticed."""
    before = engine.num_restarts
    send(signal.SIGKILL, engine)
    await _until(lambda: engine.num_restarts > before)


async def _until(is_reached: Callable[[], bool]) -> None:
    """Let everybody else run until something is so; the deadline of `running` ends a wait in vain."""
    while not is_reached():
        await trio.lowlevel.checkpoint()


async def last_beat(engine: Engine) -> Beat:
    """What the engine tells of itself after all that was read from it: unloading what it never had makes it speak."""
    await _until(lambda: engine.state == "ready")  # one that was killed with no work left is told nothing before
    before = engine.beat
    engine.unload(AdapterId("0xnever"))
    await _until(lambda: engine.beat is not before)
    return engine.beat


async def test_a_parked_sequence_goes_on_in_the_next_engine_as_it_would_have_and_is_not_to_blame(
    options: EngineOptions,
) -> None:
    async with serving(options) as engine:
        undisturbed = await read(engine.submit(order("a", text=b"long" + ENDLESS, max_tokens=50)))
        outcomes = engine.submit(replace(order("b", text=b"long" + ENDLESS, max_tokens=50), num_allowed=10))
        chunks = await read_until(outcomes, 10)
        for number in range(LOSSES_MAX + 2):
            engine.allow("b", 11 + number)  # it joins in every engine, and is parked when that one dies
            chunks += await read_until(outcomes, 1)
            await kill_engine(engine)
        beat = await last_beat(engine)
        assert (beat.num_running, beat.num_waiting, beat.blocks_used) == (1, 0, 0)
        engine.allow("b", 50)
        ids, text, last = await read(outcomes)
    assert [*(token for chunk in chunks for token in chunk.ids), *ids] == undisturbed[0]
    assert "".join(chunk.text for chunk in chunks) + text == undisturbed[1]
    assert last == Finished(sequence_id="b", reason="length")


async def test_an_engine_whose_sequences_are_all_parked_is_not_taken_for_frozen(
    options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Vitals] = []

    def look(seen: Vitals, limits: EngineLimits) -> str | None:
        looks.append(seen)
        return why_kill(seen, limits)

    monkeypatch.setattr("openledger_node.engine.engine.WATCH_INTERVAL_S", 0.001)
    monkeypatch.setattr("openledger_node.engine.engine.why_kill", look)
    async with serving(replace(options, stall_timeout_s=5.0)) as engine:
        paid, left = (engine.submit(replace(order(name, text=ENDLESS), num_allowed=5)) for name in ("paid", "left"))
        await read_until(paid, 5)
        await read_until(left, 5)
        await last_beat(engine)
        engine._last_event_at_s -= 1000.0  # as if their payer had not paid for that long
        before = len(looks)
        await _until(lambda: len(looks) > before + 2)
        engine.allow("paid", 40)
        engine.cancel("left")
        assert (await read(paid))[2] == Finished(sequence_id="paid", reason="length")
        assert (await read(left))[2] == Finished(sequence_id="left", reason="cancelled")
        beat = await last_beat(engine)
    assert (beat.num_running, beat.num_waiting, beat.blocks_used, engine.num_live) == (0, 0, 0, 0)
    assert engine.num_restarts == 0


async def test_a_pinned_adapter_is_there_before_anybody_asks_and_in_the_next_engine_too(
    options: EngineOptions, tmp_path: Path
) -> None:
    first, second = (source(write_adapter(tmp_path / name, seed=seed)) for seed, name in enumerate(("aa", "bb")))
    async with serving(replace(options, pinned=(first,))) as engine:
        await _until(lambda: engine.beat.resident == (first.id,))
        engine.pin(second)
        await _until(lambda: set(engine.beat.resident) == {first.id, second.id})
        engine.unpin(first.id)
        await kill_engine(engine)
        await _until(lambda: engine.beat.resident == (second.id,))


async def test_in_a_crowd_with_too_little_of_everything_each_answer_is_its_own(
    options: EngineOptions, tmp_path: Path
) -> None:
    """Three adapters where one and a half fit, few blocks, three payers, cancels, and a kill in the middle."""
    sources = [
        None,
        *(source(write_adapter(tmp_path / name, seed=seed)) for seed, name in enumerate(("a", "b", "c"))),
    ]
    orders = [
        order(
            f"s{number}",
            text=b"common beginning %d" % (number % 5) + ENDLESS,
            max_tokens=30 + number % 40,
            adapter=sources[number % 4],
            payer=f"p{number % 3}",
        )
        for number in range(32)
    ]
    async with serving(options) as engine:
        alone = [(await read(engine.submit(one)))[0] for one in orders]
        size_bytes = (await last_beat(engine)).adapter_bytes // 3
    tight = replace(
        options,
        adapter_cache_bytes=size_bytes * 3 // 2,
        settings=replace(options.settings, kv_cache_bytes=16 * BLOCK_BYTES),
    )
    answers: dict[int, tuple[list[int], Outcome | SequenceLost]] = {}

    async def follow(number: int, channel: trio.MemoryReceiveChannel[Outcome | SequenceLost]) -> None:
        ids, _, last = await read(channel)
        answers[number] = (ids, last)

    async with serving(tight) as engine:
        async with trio.open_nursery() as nursery:
            for number, one in enumerate(orders):
                nursery.start_soon(follow, number, engine.submit(one))
            await _until(lambda: len(answers) > 10)
            for number in range(0, 32, 7):
                engine.cancel(f"s{number}")
            send(signal.SIGKILL, engine)
        beat = await last_beat(engine)
    assert (beat.num_running, beat.num_waiting, beat.blocks_used) == (0, 0, 0)
    assert beat.adapter_bytes <= tight.adapter_cache_bytes
    for number, expected in enumerate(alone):
        ids, last = answers[number]
        assert isinstance(last, Finished)
        assert ids == (expected[: len(ids)] if last.reason == "cancelled" else expected)
    assert sum(last == Finished(sequence_id=f"s{n}", reason="length") for n, (_, last) in answers.items()) >= 27
