"""The engine's process and the card's memory: never more than the owner's cap, and all of it back after a pause."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import trio
from support.on_card import DEVICE, IS_ON_CARD
from support.plain_adapter import write_adapter
from support.tiny import make_base

from openledger_node.config import InferenceConfig
from openledger_node.engine.backend import BackendSettings
from openledger_node.engine.benchmark import run_engine, time_sequences
from openledger_node.engine.budget import fit, needs_of
from openledger_node.engine.engine import Engine, EngineOptions
from openledger_node.engine.frames import Submit
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

MIB = 1 << 20
CAP_BYTES = 1536 * MIB
SLACK_BYTES = 64 * MIB
"""Drivers keep some memory for a while after a process has ended."""

INFERENCE = InferenceConfig(batch_max=8, context_max=256, acceleration="auto" if IS_ON_CARD else "off")
WITHIN_S = 2.0
POLL_S = 0.002


@pytest.fixture
def base(tmp_path: Path) -> Path:
    base = make_base(tmp_path / "base", max_position_embeddings=512)
    for number in range(4):
        write_adapter(base, tmp_path / f"a{number}", seed=number, targets=("q_proj", "down_proj"), r=4 + number)
    return base


def options_for(base: Path) -> EngineOptions:
    """Options under the cap, divided as the daemon divides it."""
    wanted = BackendSettings(
        base_folder=str(base),
        device=DEVICE.type,
        dtype="auto",
        threads=1,
        batch_max=INFERENCE.batch_max,
        context_max=INFERENCE.context_max,
        acceleration=INFERENCE.acceleration,
    )
    needs = needs_of(base, INFERENCE, on_gpu=IS_ON_CARD)
    settings, adapter_bytes = fit(wanted, 64 * MIB, cap_bytes=CAP_BYTES, needs=needs)
    return EngineOptions(
        backend="torch_lora",
        settings=settings if IS_ON_CARD else replace(settings, kv_cache_bytes=0),
        prefill_tokens_max=INFERENCE.prefill_tokens_max,
        adapter_cache_bytes=adapter_bytes,
        stall_timeout_s=60.0,
        wait_policy="passive",
    )


def orders_for(base: Path) -> list[Submit]:
    """More sequences than run at once, with long prompts, on four adapters."""
    sampling = SamplingParams(max_tokens=24, seed=1, temperature=0)
    folders = [base.parent / f"a{number % 4}" for number in range(16)]
    return [
        Submit(
            sequence_id=f"s{number}",
            prompt_ids=tuple((number + at) % 250 + 1 for at in range(200)),
            sampling=sampling,
            adapter=AdapterSource(id=AdapterId(folder.name), folder=str(folder)),
        )
        for number, folder in enumerate(folders)
    ]


class Card:
    """The memory of the card that others take since the start; on the host there is none."""

    def __init__(self) -> None:
        self._free_bytes = self._now()
        self.most_bytes = 0

    @property
    def taken_bytes(self) -> int:
        return self._free_bytes - self._now()

    @contextmanager
    def watched(self) -> Iterator[None]:
        is_over = threading.Event()

        def watch() -> None:
            while not is_over.wait(POLL_S):
                self.most_bytes = max(self.most_bytes, self.taken_bytes)

        thread = threading.Thread(target=watch)
        thread.start()
        yield
        is_over.set()
        thread.join()

    def _now(self) -> int:
        return torch.cuda.mem_get_info()[0] if IS_ON_CARD else 0


def test_an_engine_at_its_cap_refuses_nobody_never_exceeds_it_and_gives_all_back(base: Path) -> None:
    card, waited_s = Card(), []

    async def work(engine: Engine) -> list[str]:
        timing = await time_sequences(engine, orders_for(base))
        assert timing.num_tokens >= 16, "they were answered"
        if IS_ON_CARD:
            assert card.taken_bytes > SLACK_BYTES, "there is something to give back"
        began_s = time.monotonic()
        engine.rest()
        while engine.process_id is not None or card.taken_bytes > SLACK_BYTES:
            assert time.monotonic() - began_s < 10 * WITHIN_S, f"{card.taken_bytes / MIB:.0f} MiB are still taken"
            await trio.sleep(POLL_S)
        waited_s.append(time.monotonic() - began_s)
        return timing.failures

    with card.watched():
        assert run_engine(options_for(base), work) == []
    assert card.most_bytes <= CAP_BYTES
    assert waited_s[0] < WITHIN_S
