"""An answer's tokens run once more, for signals that were lost or that a verifier compares."""

from typing import Final

import trio

from openledger_protocol.errors import UnavailableError

from ..engine.engine import Engine
from ..engine.frames import Finished, Reduced, Submit

REPLAY_TIMEOUT_S: Final = 60.0


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
