"""How much of a body is taken, and for how long it is waited: counted as it arrives, whatever its head says."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import trio
from starlette.exceptions import HTTPException

Message = MutableMapping[str, Any]
Incoming = Callable[[], Awaitable[Message]]
Outgoing = Callable[[Message], Awaitable[None]]

BODY_S = 30.0
"""From a request's head to the end of its body; over loopback the longest that is allowed comes in milliseconds."""


class Intake:
    """The body of one request."""

    def __init__(self, receive: Incoming, *, bytes_max: int, body_s: float) -> None:
        self._receive = receive
        self._bytes_max = bytes_max
        self._left_bytes = bytes_max
        self._body_s = body_s
        self._until = trio.current_time() + body_s
        self._is_whole = False

    @property
    def is_whole(self) -> bool:
        """Whether all of it has been read."""
        return self._is_whole

    async def __call__(self) -> Message:
        """The next piece, or the word that the client has hung up: that is waited for without an end.

        Raises:
            HTTPException: it is too long, or too slow.
        """
        if self._is_whole:
            return await self._receive()
        message = await self._next_piece()
        self._left_bytes -= len(message.get("body", b""))
        if self._left_bytes < 0:
            raise HTTPException(413, f"the body is over {self._bytes_max} bytes")
        self._is_whole = not message.get("more_body", False)
        return message

    async def _next_piece(self) -> Message:
        with trio.move_on_at(self._until):
            return await self._receive()
        raise HTTPException(408, f"the body was not whole after {self._body_s:g} s", {"Connection": "close"})


def telling_of_the_close(send: Outgoing, intake: Intake) -> Outgoing:
    """An answer that goes out before the body was read says that the connection ends with it.

    The server hangs up over an unread body; a client that was not told so sends its next request into a closed door.
    """

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start" and not intake.is_whole:
            others = [(name, value) for name, value in message.get("headers", ()) if name.lower() != b"connection"]
            message = {**message, "headers": [*others, (b"connection", b"close")]}
        await send(message)

    return answer
