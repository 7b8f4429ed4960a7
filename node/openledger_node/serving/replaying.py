"""An answer's tokens run once more, for signals that were lost or that a verifier compares."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from uuid import uuid4

import trio

from openledger_protocol.errors import UnavailableError
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import Digest

from ..engine.backend import Profile
from ..engine.engine import Engine
from ..engine.frames import Finished, Reduced, Submit
from ..models.adapter_source import AdapterSource
from ..models.adapters import INDEX_FOLDER, Adapter

REPLAY_TIMEOUT_S: Final = 60.0
GREEDY: Final = SamplingParams(max_tokens=1, seed=0, temperature=0.0)


class EngineReplays:
    """Replays for threads that `trio` has started; the engine's own task must not call."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def has_taps(self) -> bool:
        """True if the backend hands out what signals are made of."""
        return self._engine.has_taps

    @property
    def profile(self) -> Profile | None:
        """The engine's profile; None until it has started for the first time."""
        return self._engine.profile

    def replay(
        self, adapter: Adapter, prompt_ids: tuple[int, ...], answer_ids: tuple[int, ...]
    ) -> Mapping[Digest, bytes]:
        """Run an answer's tokens once more, and return their signals by root of a Datanet's rows.

        Raises:
            UnavailableError: the engine can't just now.
        """
        command = Submit(
            sequence_id=f"replay/{uuid4().hex}",
            prompt_ids=prompt_ids,
            sampling=replace(GREEDY, max_tokens=len(answer_ids)),
            adapter=AdapterSource(id=adapter.id, folder=str(adapter.folder)),
            signals_folder=str(adapter.folder / INDEX_FOLDER),
            replayed_ids=answer_ids,
        )
        return dict(trio.from_thread.run(replay, self._engine, command))


async def replay(engine: Engine, command: Submit) -> Reduced:
    """Run a command with `replayed_ids`, and return the signals of its tokens.

    Raises:
        UnavailableError: the engine can't compute them, or takes too long.
    """
    with trio.move_on_after(REPLAY_TIMEOUT_S):
        async for event in engine.submit(command):
            if isinstance(event, Finished) and event.signals:
                return event.signals
    engine.cancel(command.sequence_id)
    raise UnavailableError("the signals of this answer can't be computed here just now")
