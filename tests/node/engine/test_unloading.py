"""An engine that gives its memory back when nobody asks, and is loaded again for whoever asks next.

On a virtual clock, over a child without a process. `test_engine.py` has the real one.
"""

from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from math import inf
from typing import Any

import pytest
import trio
import trio.testing
from node.engine.scripted_child import PROFILE, Script
from support.local_engine import engine_options, last_of, order, running

from openledger_node.engine.duty import RETRY_S
from openledger_node.engine.engine import FAILED_STARTS_MAX, Engine, Outcome, SequenceLost, Submit
from openledger_node.engine.frames import Fatal, Finished, OpenEngine
from openledger_node.engine.load_steps import TELL_INTERVAL_S, LoadStep, tell, told_to
from openledger_node.errors import ModelError
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.primitives import AdapterId

UNLOAD_AFTER_S, LOAD_S, LONG_S = 300.0, 8.0, 5_000.0
NO_ROOM = Fatal(message="the base does not fit: close the game", is_device=True, can_recover=True)
BROKEN = Fatal(message="the base's files are gone: pull it again")
OLD_DRIVER = Fatal(message="the driver is too old: update it", is_device=True, can_recover=False)


def serving(script: Script) -> AbstractAsyncContextManager[Engine]:
    options = engine_options(unload_after_s=UNLOAD_AFTER_S, stall_timeout_s=1e9)
    return running(Engine(options, start=script.start), timeout_s=inf)


async def ask(engine: Engine, name: str) -> Outcome | SequenceLost:
    return await last_of(engine.submit(order(name)))


async def test_it_is_unloaded_after_the_set_time_without_a_request_and_not_before(autojump_clock: object) -> None:
    async with serving(Script(answer_s=3 * UNLOAD_AFTER_S)) as engine:
        for name in "ab":
            assert isinstance(await ask(engine, name), Finished)  # a long answer is no idleness
            await trio.sleep(UNLOAD_AFTER_S - 2)
        assert (engine.state, engine.num_unloads) == ("ready", 0)
        await trio.sleep(4)
        assert (engine.state, engine.process_id, engine.num_unloads) == ("unloaded", None, 1)
        assert (engine.can_answer, engine.num_restarts) == (True, 0)


async def test_several_requests_at_once_start_one_reload_and_all_are_answered(autojump_clock: object) -> None:
    script = Script()
    async with serving(script) as engine:
        await trio.sleep(UNLOAD_AFTER_S + 5)
        began_s = trio.current_time()
        channels = [engine.submit(order(f"s{number}")) for number in range(5)]
        await trio.testing.wait_all_tasks_blocked()
        assert engine.state == "reloading"
        assert [type(await last_of(channel)) for channel in channels] == [Finished] * 5
        assert trio.current_time() - began_s < LOAD_S + 6
    assert (script.num_started, engine.num_restarts) == (2, 0)
    assert sum(isinstance(command, OpenEngine) for command in script.children[-1].commands) == 1


@pytest.mark.parametrize("is_renewed", [False, True])
async def test_a_request_that_comes_while_an_engine_ends_is_answered_by_the_next(
    autojump_clock: object, is_renewed: bool
) -> None:
    script = Script(end_s=3.0)
    async with serving(script) as engine:
        if is_renewed:
            engine.renew(engine._options)
        while engine.state == "ready":  # noqa: ASYNC110  # nothing tells when
            await trio.sleep(0.5)
        assert engine.process_id is not None, "it is on its way out"
        assert engine.can_answer
        assert isinstance(await ask(engine, "late"), Finished)
    assert (script.num_started, engine.num_restarts) == (2, 0)
    assert not any(isinstance(command, Submit) for command in script.children[0].commands)


async def test_the_wait_for_a_first_token_is_estimated_by_the_last_load(autojump_clock: object) -> None:
    script = Script(load_s=LOAD_S)
    async with serving(script) as engine:
        assert (engine.load_s, engine.ready_in_s()) == (LOAD_S, 0.0)
        await trio.sleep(UNLOAD_AFTER_S - 10)
        assert engine.ready_in_s() == 0.0
        assert engine.ready_in_s(within_s=20.0) == LOAD_S, "it will be unloaded before a bid of now has run out"
        await trio.sleep(15)
        assert engine.ready_in_s() == LOAD_S
        engine.load()
        await trio.sleep(3)
        assert engine.ready_in_s() == pytest.approx(LOAD_S - 3)
        await trio.sleep(10)
        assert (engine.state, engine.ready_in_s(within_s=20.0)) == ("ready", 0.0)


async def test_a_pin_loads_it(autojump_clock: object) -> None:
    script = Script()
    async with serving(script) as engine:
        await trio.sleep(UNLOAD_AFTER_S + 5)
        source = AdapterSource(id=AdapterId("0xaa"), folder="/nowhere/aa")
        engine.pin(source)
        await trio.sleep(LOAD_S + 1)
        assert engine.state == "ready"
    (opened, *_) = script.children[-1].commands
    assert opened.pinned == (source,)


# ---- a pause


async def test_a_pause_ends_everything_at_once_and_nothing_is_loaded_before_the_resume(
    autojump_clock: object,
) -> None:
    script = Script(answer_s=1000.0)
    async with serving(script) as engine:
        runs = engine.submit(order("runs"))
        await trio.sleep(1)
        began_s = trio.current_time()
        engine.rest()
        assert await last_of(runs) == Finished(sequence_id="runs", reason="cancelled")
        assert await ask(engine, "late") == Finished(sequence_id="late", reason="cancelled")
        await trio.testing.wait_all_tasks_blocked()
        assert (engine.process_id, trio.current_time()) == (None, began_s)
        await trio.sleep(LONG_S)
        assert (engine.state, script.num_started, engine.can_answer) == ("paused", 1, False)
        engine.wake()
        await trio.sleep(LOAD_S + 1)
        assert (engine.state, engine.num_restarts) == ("ready", 0)


async def test_a_pause_while_it_loads_ends_the_load_and_a_resume_begins_another(autojump_clock: object) -> None:
    script = Script()
    async with serving(script) as engine:
        engine.rest()
        engine.wake()
        await trio.sleep(2)
        assert engine.state == "reloading"
        engine.rest()
        await trio.testing.wait_all_tasks_blocked()
        assert (engine.state, engine.process_id) == ("paused", None)
        engine.wake()
        await trio.sleep(LOAD_S + 1)
        assert (engine.state, script.num_started) == ("ready", 3)


# ---- a load that fails


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"fatal": NO_ROOM}, NO_ROOM.message),
        ({"fatal": BROKEN}, BROKEN.message),
        # A card that fell off the bus must not turn a fast node into a slow one that keeps its promises of before.
        ({"profile": replace(PROFILE, device="cpu")}, "ran on 'cuda' and finds only 'cpu' now"),
    ],
    ids=["no room", "broken", "another device"],
)
async def test_a_reload_that_fails_refuses_what_waits_in_one_sentence_and_the_next_request_tries_again(
    autojump_clock: object, fault: dict[str, Any], why: str
) -> None:
    on_card = replace(PROFILE, device="cuda")
    script = Script(profile=on_card)
    async with serving(script) as engine:
        await trio.sleep(UNLOAD_AFTER_S + 5)
        for name, value in fault.items():
            setattr(script, name, value)
        refused = await ask(engine, "a")
        assert why in refused.message
        assert engine.failure.why == refused.message
        assert (refused.code, engine.state, engine.can_answer) == ("unavailable", "failed", False)
        script.fatal, script.profile = None, on_card
        assert isinstance(await ask(engine, "b"), Finished)
        assert (engine.state, engine.failure) == ("ready", None)


async def test_what_may_get_better_is_tried_again_by_itself_and_ever_less_often(autojump_clock: object) -> None:
    script = Script(fatal=NO_ROOM, load_s=1.0)
    async with serving(script) as engine:
        began_s, seen = trio.current_time(), []
        while len(script.children) <= len(RETRY_S) + 1:
            known = script.num_started
            while script.num_started == known:  # noqa: ASYNC110  # nothing tells when
                await trio.sleep(1)
            seen.append(trio.current_time() - began_s)
            began_s = trio.current_time()
        pauses = [*RETRY_S, RETRY_S[-1]]
        assert seen == pytest.approx([pause + 1 for pause in pauses], abs=2.5)
        script.fatal = None
        await trio.sleep(RETRY_S[-1] + 5)
        assert (engine.can_answer, engine.failure) == (True, None)


async def test_what_cannot_get_better_is_not_tried_again_until_something_changes(autojump_clock: object) -> None:
    script = Script(fatal=OLD_DRIVER)
    async with serving(script) as engine:
        await trio.sleep(LONG_S)
        assert (engine.state, script.num_started) == ("failed", 1)
        refused = await ask(engine, "a")
        assert (refused.message, script.num_started) == (OLD_DRIVER.message, 1)
        script.fatal = None
        engine.renew(engine._options)
        await trio.sleep(LOAD_S + 1)
        assert engine.state == "ready"


async def test_settings_that_cannot_work_end_the_first_start(autojump_clock: object) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ModelError, match="are gone")):
        async with serving(Script(fatal=BROKEN)):
            pass


async def test_children_that_die_while_they_load_are_a_failure_and_not_the_end_of_the_node(
    autojump_clock: object,
) -> None:
    script = Script(is_dying=True, load_s=1.0)
    async with serving(script) as engine:
        assert (engine.state, script.num_started) == ("failed", FAILED_STARTS_MAX)
        assert f"ended {FAILED_STARTS_MAX} times while loading" in engine.failure.why
        await trio.sleep(RETRY_S[0] + 5)
        assert script.num_started == FAILED_STARTS_MAX + 1, "one more try, and no loop"
        script.is_dying = False
        assert isinstance(await ask(engine, "a"), Finished)


# ---- steps of a load, as the backend tells them and over the engine's socket

HALF = LoadStep(phase="loading", done=15, total=30)


def test_a_phase_is_told_at_once_and_its_progress_a_few_times_a_second() -> None:
    heard: list[LoadStep] = []
    now_s = 0.0
    with told_to(heard.append, now_s=lambda: now_s):
        tell("converting", 0, 3)
        now_s = TELL_INTERVAL_S / 2
        tell("converting", 1, 3)  # too early
        now_s = TELL_INTERVAL_S
        tell("converting", 2, 3)
        tell("loading")
    tell("loading", 1, 2)  # nobody listens any more
    assert [(each.phase, each.done) for each in heard] == [("converting", 0), ("converting", 2), ("loading", 0)]


async def test_the_engine_says_where_its_load_is_and_nothing_once_it_is_ready(autojump_clock: object) -> None:
    steps = (LoadStep(phase="engine"), HALF)
    script, heard = Script(load_s=8.0, load_steps=steps), list[LoadStep]()
    engine = Engine(engine_options(), start=script.start, told=heard.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        await trio.sleep(1)
        assert (engine.state, engine.load_step) == ("starting", steps[0])
        await trio.sleep(4)
        assert engine.load_step == HALF
        await trio.sleep(4)
        assert (engine.state, engine.load_step) == ("ready", None)
        nursery.cancel_scope.cancel()
    assert heard == list(steps)


async def test_a_load_that_goes_on_for_ever_is_ended_however_much_it_says(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    script = Script(load_s=100.0, load_steps=(HALF,) * 50)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Engine(engine_options(load_timeout_s=20.0), start=script.start).run)
        await trio.sleep(30)
        nursery.cancel_scope.cancel()
    assert script.num_started > 1
    assert "engine is not ready after" in caplog.text
