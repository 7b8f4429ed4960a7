"""Whole answers of the dialects, written by the same writer as their events.

The whole answer is what its events add up to, so a stream and a whole answer can't differ.
"""

from typing import Any, Protocol

from fastapi import Request

from ..exchange import AnswerExchange, while_connected
from ..stream import AnswerWriter


class KeepingWriter(AnswerWriter, Protocol):
    """A writer that keeps what its events add up to."""

    @property
    def whole(self) -> dict[str, Any]:
        """The answer so far."""


async def collect_whole(http: Request, exchange: AnswerExchange, writer: KeepingWriter) -> dict[str, Any]:
    """Wait for the whole answer.

    Raises:
        ProtocolError: the request failed.
        HTTPException: the client disconnected.
    """

    async def collect() -> dict[str, Any]:
        writer.begin()
        async for part in exchange.parts():
            writer.write([part], ())
        writer.end()
        return writer.whole

    async with exchange:
        return await while_connected(http, collect)
