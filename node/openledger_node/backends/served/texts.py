"""The joined sequences of a backend over a server: all tokens of each, and the stream that continues them.

A server batches, caches and draws on its own. So a sequence's tokens are handed to it whole, and steps take the
tokens that have come. A token that the server has not drawn itself, as in a resumed answer, starts another stream.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from openledger_protocol.primitives import AdapterId

from ...engine.backend import LATER, BatchRow, Draw, Drawn
from .client import ServerLostError
from .stream import RequestRefusedError, ServerStream

POLL_S = 0.02
"""The longest wait of a poll; after it the engine looks for new requests."""

TOGETHER_S = 0.002
"""Tokens of one step of the server arrive within this time, and make one step here."""

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True, eq=False)
class Text:
    """A joined sequence: all its tokens so far, and the stream that continues them."""

    adapter_id: AdapterId | None
    payer: str = ""
    ids: list[int] = field(default_factory=list)
    stream: ServerStream | None = None
    num_whole: int = 0  # tokens that the next stream asks for in one piece; 0: as they come
    num_whole_last: int = 0

    @property
    def is_ready(self) -> bool:
        """True if its next token, or its end, has come."""
        return self.stream is not None and self.stream.is_ready


OpenStream = Callable[[Text, Draw], ServerStream | None]
"""Starts the stream that continues a text; None if it must wait for others to end."""


class Texts:
    """All joined sequences; `arrival` is notified of anything in any stream."""

    def __init__(self, name: str, open_stream: OpenStream) -> None:
        self.arrival = threading.Condition()
        self._name = name
        self._open_stream = open_stream
        self._texts: dict[str, Text] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def join(self, sequence_id: str, adapter_id: AdapterId | None) -> None:
        """Start a sequence; nothing runs before its first token is requested."""
        assert sequence_id not in self._texts, "it has left before it joins again"
        self._texts[sequence_id] = Text(adapter_id=adapter_id)

    def leave(self, sequence_id: str) -> None:
        """End a sequence, even in the middle of an answer."""
        stop(self._texts.pop(sequence_id))

    def close(self) -> None:
        """End all streams."""
        for text in self._texts.values():
            stop(text)

    def step(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        """Append each row's tokens, start the streams that do not run yet, and wait for each requested token.

        Raises:
            ServerLostError: the server has ended.
        """
        drawn = self.poll(rows)
        while waiting := tuple(row for row in rows if drawn.get(row.sequence_id) is LATER):
            for row in waiting:
                del drawn[row.sequence_id]
            drawn |= self.poll(waiting)
        return drawn

    def poll(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        """Run rows as `step` does, but wait only for the first token, so that a long prompt holds up no other answer.

        Returns:
            The drawn token of each row, and LATER for a row that must be polled again; none for a row that the server
            refuses to run.

        Raises:
            ServerLostError: the server has ended.
        """
        drawing = {row.sequence_id: draw for row in rows if (draw := self._take(row))}
        waiting = {
            sequence_id for sequence_id, draw in drawing.items() if not self._start(self._texts[sequence_id], draw)
        }
        self._wait([self._texts[sequence_id] for sequence_id in drawing])
        drawn: dict[str, Drawn] = {}
        for sequence_id, draw in drawing.items():
            text = self._texts[sequence_id]
            if sequence_id in waiting or not text.is_ready:
                drawn[sequence_id] = LATER
            elif (found := self._next(text, draw)) is not None:
                drawn[sequence_id] = found
        return drawn

    def _take(self, row: BatchRow) -> Draw | None:
        """Append a row's tokens, and drop the stream if it generated others."""
        text = self._texts[row.sequence_id]
        assert row.position <= len(text.ids), "a row continues where the last one ended"
        text.ids[row.position :] = row.token_ids
        text.payer = row.payer
        if text.stream and (text.stream.position, text.stream.last) != (len(text.ids), text.ids[-1]):
            stop(text)
        return row.draw

    def _start(self, text: Text, draw: Draw) -> bool:
        """Have the server continue a text, if it does not yet; False if that must wait."""
        if text.stream and text.stream.sampling != draw.sampling:
            stop(text)
        if text.stream is None:
            text.stream = self._open_stream(text, draw)
        return text.stream is not None

    def _wait(self, texts: list[Text]) -> None:
        """Wait for a first token and a moment for others of the same step of the server, but never long."""
        with self.arrival:
            if self.arrival.wait_for(lambda: any(text.is_ready for text in texts), POLL_S):
                self.arrival.wait_for(lambda: all(text.is_ready for text in texts), TOGETHER_S)

    def _next(self, text: Text, draw: Draw) -> Drawn | None:
        """Take the next token of a text; if its stream has ended, start another, whose token comes later."""
        assert text.stream is not None, "it is ready"
        try:
            if drawn := text.stream.next():
                return drawn
        except RequestRefusedError as refusal:
            # Status only: the reason may quote the request.
            log.warning("%s refuses a request with status %s", self._name, refusal)
            stop(text)
            return None
        if text.stream.is_barren:
            raise ServerLostError(f"the {self._name} server ended an answer before its first token")
        stop(text)
        self._start(text, draw)
        return LATER


def stop(text: Text) -> None:
    """Close a text's stream, if it has one."""
    if text.stream:
        text.stream.close()
        text.stream = None
