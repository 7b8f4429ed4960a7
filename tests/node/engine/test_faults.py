"""A card that fell off the bus, an old driver, a base that does not fit: one sentence each, and no loop."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from support.faulty_plug import FaultyPlug
from support.local_engine import SETTINGS, engine_options, last_of, order, running

from openledger_node.engine.child import OUTPUT
from openledger_node.engine.engine import Engine
from openledger_node.engine.faults import device_error_of
from openledger_node.engine.frames import Finished
from openledger_node.errors import DeviceError, ModelError

TIMEOUT_S = 60.0

LOST = "CUDA error: GPU is lost.  Reboot the system to recover this GPU"
OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver"
ASSERT = "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported"


@pytest.mark.parametrize(
    ("words", "says", "can_recover"),
    [
        (LOST, "fell off the bus", True),
        (OLD_DRIVER, "driver is too old for the installed torch: update the driver", False),
        ("CUDA error: no kernel image is available for execution on the device", "supports the card", False),
        ("No CUDA GPUs are available", "the driver finds no GPU", True),
        ("HIP error: no ROCm-capable device is detected", "the driver finds no GPU", True),
        ("CUDA error: uncorrectable ECC error encountered", "memory has an error", True),
        (ASSERT, "a program on the GPU failed", True),
        ("CUDA out of memory. Tried to allocate 2.00 GiB", "does not fit into the memory that is free now", True),
    ],
)
def test_each_error_of_a_device_has_its_sentence_and_the_librarys_words_behind_it(
    words: str, says: str, can_recover: bool
) -> None:
    found = device_error_of(RuntimeError(words))
    assert says in str(found)
    assert words[:20] in str(found)
    assert "\n" not in str(found)
    assert found.can_recover is can_recover


def test_an_error_behind_another_is_found_and_our_own_and_others_are_left_alone() -> None:
    outer = KeyError("step")
    outer.__cause__ = RuntimeError(LOST)
    assert "off the bus" in str(device_error_of(outer))
    assert device_error_of(KeyError("x")) is None
    assert device_error_of(ModelError(f"no vLLM server: {LOST}")) is None
    ours = DeviceError("lower kv_cache_bytes")
    assert device_error_of(ours) is ours


# ---- in a real child


@pytest.fixture
def plug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FaultyPlug:
    return FaultyPlug(tmp_path / "plug", monkeypatch)


@pytest.mark.process
async def test_a_card_that_is_lost_in_a_step_is_named_what_waits_is_refused_and_its_return_is_noticed(
    plug: FaultyPlug, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=OUTPUT)
    options = engine_options(backend="faulty", settings=replace(SETTINGS, batch_max=8, context_max=2048))
    async with running(Engine(options), timeout_s=TIMEOUT_S) as engine:
        plug.fail("step", LOST)
        outcomes = engine.submit(order("a"))
        while engine.num_restarts == 0:  # noqa: ASYNC110  # nothing tells when
            await trio.sleep(0.01)
        plug.fail("open", LOST)
        last = await last_of(outcomes)
        assert "off the bus" in last.message
        assert (engine.state, engine.process_id) == ("failed", None)
        plug.mend()
        assert isinstance(await last_of(engine.submit(order("b"))), Finished)
        assert (engine.state, engine.failure) == ("ready", None)
    assert "Traceback" in caplog.text, "the log has all of it"
