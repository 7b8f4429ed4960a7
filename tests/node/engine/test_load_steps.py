"""What is said while a base is opened: by the backend, over the engine's socket, and to whoever waits for it."""

from dataclasses import replace

import pytest
import trio
from node.engine.scripted_child import Script
from support.local_engine import SETTINGS, engine_options

from openledger_node.engine.engine import Engine, EngineOptions
from openledger_node.engine.load_steps import TELL_INTERVAL_S, LoadStep, tell, told_to

HALF = LoadStep(phase="loading", done=15, total=30)


def options(*, load_timeout_s: float = 600.0) -> EngineOptions:
    return engine_options(settings=replace(SETTINGS, batch_max=8, context_max=2048), load_timeout_s=load_timeout_s)


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
    engine = Engine(options(), start=script.start, told=heard.append)
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
        nursery.start_soon(Engine(options(load_timeout_s=20.0), start=script.start).run)
        await trio.sleep(30)
        nursery.cancel_scope.cancel()
    assert script.num_started > 1
    assert "engine is not ready after" in caplog.text
