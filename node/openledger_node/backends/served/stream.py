"""One streamed answer of a server, which generates tokens by itself; a thread reads them, and steps take them."""

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, HTTPResponse

from openledger_protocol.inference import SamplingParams

from ...engine.backend import Drawn
from .client import Client, ServerLostError, close_response, reason_of

READ_BYTES = 1 << 16
BAD_REQUEST, UNPROCESSABLE = 400, 422


class RequestRefusedError(Exception):
    """The server refuses this request; other requests continue."""


class AnswerOver(Exception):  # an end, and no error
    """The server has ended the answer."""


class ServerStream:
    """An answer that runs on the server until its last token, or until it is closed; a thread reads it.

    A subclass says what an event means, in `tokens_in`.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        prompt_ids: Sequence[int],
        sampling: SamplingParams,
        body: object,
        arrival: threading.Condition,
    ) -> None:
        """Start the answer; `arrival` is notified whenever there is more to read.

        Raises:
            ServerLostError: the server does not accept connections.
        """
        self.sampling = sampling
        self.position = len(prompt_ids)  # of the next token
        self.last = prompt_ids[-1]
        self._name = client.name
        self._arrival = arrival
        self._connection: HTTPConnection = client.send("POST", path, body)
        self._socket = self._connection.sock
        self._response: HTTPResponse | None = None
        self._received = b""  # the start of an incomplete event
        self._arrived: deque[Drawn] = deque()  # at most the request's max_tokens
        self.is_barren = True  # it has given no token
        self._end: Exception | None = None  # the reason why no more tokens come after those that have arrived
        self._thread = threading.Thread(target=self._follow, name="answer-stream", daemon=True)
        self._thread.start()

    @property
    def is_ready(self) -> bool:
        """True if `next` would not wait."""
        return bool(self._arrived) or self._end is not None

    @property
    def is_over(self) -> bool:
        """True if the server no longer works on it."""
        return self._end is not None

    def next(self) -> Drawn | None:
        """Wait for the next token, or return None if the server has ended the answer.

        Raises:
            RequestRefusedError: the server refuses the request.
            ServerLostError: the connection broke.
        """
        with self._arrival:
            self._arrival.wait_for(lambda: self.is_ready)
        if self._arrived:
            drawn = self._arrived.popleft()
            self.position += 1
            self.is_barren = False
            self.last = drawn.token
            return drawn
        if isinstance(self._end, AnswerOver):
            return None
        assert self._end is not None, "it is ready, and no token has arrived"
        raise self._end

    def close(self) -> None:
        """Close the connection, which makes the server stop, and wait for the thread."""
        with contextlib.suppress(OSError):  # the server may have closed it
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._thread.join()
        close_response(self._connection, self._response)

    def tokens_in(self, event: bytes, drawn: list[Drawn]) -> None:
        """Append the tokens of one event to `drawn`.

        Raises:
            AnswerOver: it is the last event; tokens that were appended before are kept.
            ServerLostError: the server failed.
        """
        raise NotImplementedError

    def _follow(self) -> None:
        """Read until the end, in the stream's thread."""
        end: Exception | None = None
        while end is None:
            drawn: list[Drawn] = []
            try:
                self._read(drawn)
            except (OSError, HTTPException, ValueError) as error:
                end = ServerLostError(f"the {self._name} server broke off in an answer: {error!r}")
            except (AnswerOver, RequestRefusedError, ServerLostError) as error:
                end = error
            with self._arrival:
                self._arrived.extend(drawn)
                self._end = end
                self._arrival.notify_all()

    def _read(self, drawn: list[Drawn]) -> None:
        """Read once, and append the tokens to `drawn`, also those before an end."""
        if self._response is None:
            self._response = self._connection.getresponse()
            if self._response.status != 200:
                self._refuse(self._response)
        self._receive(self._response, drawn)

    def _receive(self, response: HTTPResponse, drawn: list[Drawn]) -> None:
        received = response.read1(READ_BYTES)
        if not received:
            raise ServerLostError(f"the {self._name} server ended an answer without saying so")
        *events, self._received = (self._received + received).split(b"\n\n")
        for event in events:
            self.tokens_in(event, drawn)

    def _refuse(self, response: HTTPResponse) -> None:
        if response.status in (BAD_REQUEST, UNPROCESSABLE):
            raise RequestRefusedError(str(response.status))
        reason = reason_of(response.read().decode(errors="replace"))
        # This includes 404: the server was restarted meanwhile and has lost its adapters.
        raise ServerLostError(f"the {self._name} server answered {response.status}: {reason}")
