"""A peer, a payer or a client broke a rule.

ProtocolError
├── MalformedError            the bytes or fields are not what the format says
├── UnknownModelError         no such base or adapter here
├── RequestTooLongError       the sequence cannot fit the context window
├── OverloadedError           the queue is full; try again            (retryable)
├── UnavailableError          starting, draining or restarting        (retryable)
├── EngineFailedError         the engine died under this request      (retryable)
├── AdapterRefusedError       an adapter's files do not pass the gate
└── RevertedError             a contract refused a call

Each class has one wire code, and says whether the same request may succeed later.
"""

from typing import ClassVar


class ProtocolError(Exception):
    """A rule was broken by the other side; carries the values, maps to one wire code."""

    code: ClassVar[str] = "protocol_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **values: object) -> None:
        super().__init__(message)
        self.message = message
        self.values = values


class MalformedError(ProtocolError):
    """A field is missing, of the wrong type or out of bounds."""

    code = "malformed"


class UnknownModelError(ProtocolError):
    """The name means no base and no adapter that this node can serve."""

    code = "unknown_model"


class RequestTooLongError(ProtocolError):
    """Prompt and answer together cannot fit the context window."""

    code = "request_too_long"


class OverloadedError(ProtocolError):
    """The queue is full."""

    code = "overloaded"
    retryable = True


class UnavailableError(ProtocolError):
    """The node takes no request just now."""

    code = "unavailable"
    retryable = True


class EngineFailedError(ProtocolError):
    """The engine was lost while it worked on the request, more than once."""

    code = "engine_failed"
    retryable = True


class AdapterRefusedError(ProtocolError):
    """An adapter's files are not what they must be."""

    code = "adapter_refused"


class RevertedError(ProtocolError):
    """A contract refused a call; `name` and `arguments` are its own error where its ABI is known."""

    code = "reverted"

    def __init__(
        self, message: str, *, data: bytes = b"", name: str = "", arguments: tuple[object, ...] = ()
    ) -> None:
        super().__init__(message, name=name, arguments=arguments)
        self.data = data
        self.name = name
        self.arguments = arguments
