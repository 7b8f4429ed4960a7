"""An engine's child without a process: it loads, answers and fails as its test says, on a virtual clock."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import trio

from openledger_node.engine import frames
from openledger_node.engine.backend import Profile
from openledger_node.engine.child import Child
from openledger_node.engine.frames import (
    Command,
    EngineChunk,
    EngineReady,
    Event,
    Fatal,
    Finished,
    OpenEngine,
    Submit,
)
from openledger_node.engine.load_steps import LoadStep

PROFILE = Profile(
    backend="fake",
    kernel="none",
    device="cpu",
    dtype="none",
    quantisation="none",
    threads=1,
    context_max=2048,
    vocab_size=257,
    num_blocks=64,
    block_bytes=64,
    base_bytes=0,
    end_ids=(256,),
)


@dataclass(slots=True)
class Script:
    """What the next children do, and all that were started."""

    load_s: float = 8.0
    answer_s: float = 1.0
    end_s: float = 0.5  # after it was told to end
    load_steps: tuple[LoadStep, ...] = ()  # told while it loads, the first at once
    fatal: Fatal | None = None  # instead of getting ready
    is_dying: bool = False  # while it loads, without a word
    profile: Profile = PROFILE
    children: list["ScriptedChild"] = field(default_factory=list)

    async def start(self, *, wait_policy: str, threads: int) -> "ScriptedChild":
        """Stands in for `start_child`."""
        await trio.lowlevel.checkpoint()
        self.children.append(ScriptedChild(self))
        return self.children[-1]

    @property
    def num_started(self) -> int:
        return len(self.children)


class ScriptedChild(Child):
    """One of them."""

    def __init__(self, script: Script) -> None:
        self.process: Any = SimpleNamespace(pid=os.getpid())
        self.output: Any = SimpleNamespace(tail=lambda: "it printed nothing")
        self.commands: list[Command] = []
        self._gone = trio.Event()
        self._script = script
        self._decoder = frames.frame_decoder()
        self._todo, self._orders = trio.open_memory_channel[Command](100)

    async def send(self, frame: bytes) -> None:
        for fields in self._decoder.feed(frame):
            command: Any = frames.decode(fields)
            self.commands.append(command)
            try:
                await self._todo.send(command)
            except (trio.ClosedResourceError, trio.BrokenResourceError) as error:
                raise trio.BrokenResourceError from error

    async def events(self) -> AsyncIterator[Event]:
        async for command in self._orders:
            is_first = isinstance(command, OpenEngine)
            steps = self._script.load_steps or (None,) if is_first else (None,)
            takes_s = self._script.load_s / len(steps) if is_first else self._script.answer_s
            for step in steps:
                if step:
                    yield step
                with trio.move_on_after(takes_s):
                    await self._gone.wait()
            if self._gone.is_set():
                return
            match command:
                case OpenEngine():
                    if self._script.is_dying:
                        return
                    yield self._script.fatal or EngineReady(profile=self._script.profile)
                    if self._script.fatal:
                        return
                case Submit():
                    yield EngineChunk(sequence_id=command.sequence_id, text="a", ids=(97,))
                    yield Finished(sequence_id=command.sequence_id, reason="length")

    def kill(self) -> None:
        self._gone.set()
        self._todo.close()

    async def shut_down(self) -> None:
        await trio.sleep(self._script.end_s)
        self.kill()

    async def close(self) -> int:
        await trio.lowlevel.cancel_shielded_checkpoint()
        return 0
