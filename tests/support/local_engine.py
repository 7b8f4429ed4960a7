"""The fake backend within this process, behind what the serving desk asks of an engine: no child, so no start-up."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from openledger_node.backends.fake import open_backend
from openledger_node.engine.answer import AnswerText
from openledger_node.engine.backend import BackendSettings, BatchRow, Draw
from openledger_node.engine.blocks import blocks_for
from openledger_node.engine.engine import Engine, EngineOptions, SequenceLost, Submit
from openledger_node.engine.engine import Outcome as EngineOutcome
from openledger_node.engine.frames import EngineChunk, Finished
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

SETTINGS = BackendSettings(base_folder=None, device="cpu", dtype="auto", threads=1, batch_max=64, context_max=1 << 20)


def engine_options(**changes: Any) -> EngineOptions:
    given = {
        "backend": "fake",
        "settings": SETTINGS,
        "prefill_tokens_max": 64,
        "adapter_cache_bytes": 1 << 20,
        **changes,
    }
    return EngineOptions(**{"stall_timeout_s": 60.0, "wait_policy": "passive", **given})


@asynccontextmanager
async def running(engine: Engine, *, timeout_s: float = 30.0) -> AsyncIterator[Engine]:
    """Run an engine until the block ends."""
    with trio.fail_after(timeout_s):
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            yield engine
            nursery.cancel_scope.cancel()


def order(name: str, *, text: bytes = b"hello", max_tokens: int = 40, **changes: Any) -> Submit:
    sampling = SamplingParams(max_tokens=max_tokens, seed=1, temperature=0)
    given = {"prompt_ids": tuple(text), "adapter": None, **changes}
    return Submit(sequence_id=name, sampling=sampling, **given)


async def last_of(
    outcomes: "trio.MemoryReceiveChannel[EngineOutcome | SequenceLost]",
) -> EngineOutcome | SequenceLost:
    return [outcome async for outcome in outcomes][-1]


def child_engine(root: Path) -> Engine:
    """The real thing: an engine in a child process."""
    return Engine(engine_options())


class LocalEngine:
    """Answers each order in a task of its own, a token a step."""

    def __init__(self) -> None:
        self._backend, self._loaded = open_backend(SETTINGS), set[AdapterId]()
        self._blocks = itertools.count()  # none comes back: the fake takes no room before it writes
        self._orders, self._new = trio.open_memory_channel[tuple[Submit, trio.MemorySendChannel[EngineOutcome]]](64)
        self._cancelled: set[str] = set()
        self._allowed: dict[str, int] = {}  # of the sequences that have an allowance
        self._told = trio.Event()  # replaced at each `allow` and `cancel`
        self.profile = self._backend.profile
        self.state, self.can_answer, self.failure = "ready", True, None
        self.has_taps = False

    def submit(self, order: Submit) -> "trio.MemoryReceiveChannel[EngineOutcome]":
        send, receive = trio.open_memory_channel[EngineOutcome](order.sampling.max_tokens + 1)
        if order.num_allowed is not None:
            self._allowed[order.sequence_id] = order.num_allowed
        self._orders.send_nowait((order, send))
        return receive

    def cancel(self, sequence_id: str) -> None:
        self._cancelled.add(sequence_id)
        self._wake()

    def allow(self, sequence_id: str, num_tokens: int) -> None:
        self._allowed[sequence_id] = num_tokens
        self._wake()

    def _wake(self) -> None:
        told, self._told = self._told, trio.Event()
        told.set()

    async def run(self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            task_status.started()
            async for order, send in self._new:
                nursery.start_soon(self._answer, order, send)

    def _load(self, adapter: AdapterSource | None) -> AdapterId | None:
        if adapter is None:
            return None
        if adapter.id not in self._loaded:
            self._backend.load_adapter(adapter.id, self._backend.read_adapter(adapter))
            self._loaded.add(adapter.id)
        return adapter.id

    async def _answer(self, order: Submit, send: "trio.MemorySendChannel[EngineOutcome]") -> None:
        name, sampling = order.sequence_id, order.sampling
        tokenizer = ByteTokenizer()
        answer = AnswerText(
            decoder=tokenizer.decoder(),
            stop=sampling.stop,
            end_ids=self.profile.end_ids,
            max_tokens=sampling.max_tokens,
        )
        self._backend.join(name, self._load(order.adapter))
        fed, position = order.prompt_ids, 0
        blocks: list[int] = []
        while answer.finish_reason is None and name not in self._cancelled:
            await trio.lowlevel.checkpoint()
            if position and position + 1 - len(order.prompt_ids) >= self._allowed.get(name, sampling.max_tokens):
                await self._told.wait()
                continue
            length = position + len(fed)
            missing = blocks_for(length) - len(blocks)
            blocks += [next(self._blocks) for _ in range(missing)]
            draw = Draw(sampling=sampling, position=length)
            row = BatchRow(sequence_id=name, token_ids=fed, position=position, blocks=tuple(blocks), draw=draw)
            token = self._backend.step((row,))[name].token
            position, fed = length, (token,)
            await send.send(EngineChunk(sequence_id=name, text=answer.push(token), ids=(token,)))
        self._backend.leave(name)
        await send.send(Finished(sequence_id=name, reason=answer.finish_reason or "cancelled"))
        send.close()
