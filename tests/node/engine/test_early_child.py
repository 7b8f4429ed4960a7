"""The engine's first process may start before the daemon is loaded."""

import pytest
import trio
from trio.testing import MockClock

from openledger_node.backends import native, torch_lora
from openledger_node.engine.child import MALLOC, child_environment
from openledger_node.engine.early_child import UNUSED_S, early_child
from openledger_node.engine.worker import load_libraries

pytestmark = pytest.mark.process


@pytest.mark.parametrize("backend", ["fake", "no such"], ids=["sound", "refused by the first command"])
async def test_the_early_process_is_handed_out_once(backend: str) -> None:
    async with early_child(backend=backend, wait_policy="auto", threads=0) as start:
        first = await start(wait_policy="auto", threads=0)
        second = await start(wait_policy="auto", threads=0)
        assert first.process.pid != second.process.pid
    assert first.process.poll() is None, "it is the engine's now"
    for child in (first, second):
        child.kill()
        await child.close()


async def test_a_process_that_is_not_needed_ends_after_a_while(autojump_clock: MockClock) -> None:
    async with early_child(backend="fake", wait_policy="auto", threads=0) as start:
        early = start._child
        await trio.sleep(UNUSED_S)
        await early.process.wait()
        late = await start(wait_policy="auto", threads=0)
        assert late.process.pid != early.process.pid
        late.kill()
        await late.close()


@pytest.mark.parametrize(("is_compiled", "modules"), [(True, []), (False, [f"{torch_lora.__name__}.backend"])])
def test_torch_is_loaded_early_only_where_it_will_probably_serve(
    monkeypatch: pytest.MonkeyPatch, is_compiled: bool, modules: list[str]
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(torch_lora, "import_module", loaded.append)
    monkeypatch.setattr(native, "will_probably_serve", lambda: is_compiled)
    load_libraries(torch_lora.__name__)
    assert loaded == modules


def test_an_engine_has_the_settings_for_malloc_save_those_that_the_operator_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000")
    assert child_environment("auto", 0).items() >= {**MALLOC, "MALLOC_TRIM_THRESHOLD_": "1000"}.items()
