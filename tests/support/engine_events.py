"""The engine's events out of its frames, sequence by sequence as the daemon's readers get them."""

from collections.abc import Iterator

from openledger_node.engine import frames
from openledger_node.engine.frames import Command, EngineChunk, Event, StepTokens
from openledger_protocol.codec import FrameDecoder


def events_in(decoder: FrameDecoder, received: bytes) -> Iterator[EngineChunk | Command | Event]:
    """Yield the events that `received` completes."""
    for fields in decoder.feed(received):
        event = frames.decode(fields)
        if isinstance(event, StepTokens):
            yield from frames.unfold(event)
        else:
            yield event
