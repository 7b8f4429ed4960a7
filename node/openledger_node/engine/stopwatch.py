"""Times sequences that an engine receives together, for the operator's and the developers' benchmarks."""

from collections.abc import Awaitable, Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from .engine import Engine, EngineOptions
from .frames import EngineChunk, Finished, Submit

Result = TypeVar("Result")


@dataclass(slots=True, kw_only=True)
class Timing:
    """The outcome of sequences that were submitted at once; times count from that moment."""

    wall_s: float = 0.0
    num_tokens: int = 0
    first_s: list[float] = field(default_factory=list)  # of each answered sequence: its first token
    gaps_s: list[float] = field(default_factory=list)  # between two tokens of one answer
    failures: list[str] = field(default_factory=list)  # of each sequence that was not answered: the reason

    @property
    def tokens_per_s(self) -> float:
        """Speed of all answers together, including the time for prompts."""
        return self.num_tokens / self.wall_s


def run_engine(options: EngineOptions, work: Callable[[Engine], Awaitable[Result]]) -> Result:
    """Start an engine, run `work` with it once it is ready, and end it.

    Raises:
        ModelError: the backend can't be opened.
    """
    try:
        return trio.run(_run, options, work)
    except BaseExceptionGroup as group:
        failure: BaseException = group
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]  # the other task was cancelled because of it
        raise failure from group


async def _run(options: EngineOptions, work: Callable[[Engine], Awaitable[Result]]) -> Result:
    engine = Engine(options)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        result = await work(engine)
        nursery.cancel_scope.cancel()
    return result


async def time_sequences(engine: Engine, commands: Items[Submit]) -> Timing:
    """Submit all sequences and wait until each has ended."""
    timing, began_s = Timing(), trio.current_time()
    async with trio.open_nursery() as nursery:
        for command in commands:
            nursery.start_soon(_follow, engine, command, timing, began_s)
    timing.wall_s = trio.current_time() - began_s
    return timing


async def _follow(engine: Engine, command: Submit, timing: Timing, began_s: float) -> None:
    last_s = None
    async for outcome in engine.submit(command):
        now_s = trio.current_time()
        match outcome:
            case EngineChunk():
                timing.num_tokens += len(outcome.ids)
                if last_s is None:
                    timing.first_s.append(now_s - began_s)
                else:
                    timing.gaps_s.append(now_s - last_s)
                last_s = now_s
            case Finished():
                pass
            case other:
                timing.failures.append(getattr(other, "message", "the engine died under it"))
