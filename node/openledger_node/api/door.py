"""What the API needs of whoever answers requests: this machine's engine, the network, or both."""

from collections.abc import Sequence
from typing import Any, Protocol

import trio

from openledger_protocol.inference import InferenceRequest, ServedModel

from ..serving.service import Outcome


class LetIn(Protocol):
    """A request that was let in."""

    @property
    def request(self) -> InferenceRequest:
        """What was asked."""


class Door(Protocol):
    """Answers requests."""

    @property
    def is_ready(self) -> bool:
        """Whether a request would be let in now."""

    async def models(self) -> Sequence[ServedModel]:
        """What may be asked."""

    async def find_model(self, name: str) -> ServedModel:
        """One of them, by any name that a request may use.

        Raises:
            UnknownModelError: there is none such.
        """

    async def admit(self, request: InferenceRequest) -> Any:
        """Check a request before any work is done on it; what is returned is for `handle`, and a `LetIn`.

        Raises:
            ProtocolError: it is refused; nothing was recorded.
        """

    async def handle(self, admitted: Any, send: "trio.MemorySendChannel[Outcome]") -> None:
        """Answer a request into `send`, which may be closed at any time, and record it."""

    def spell(self, token_id: int) -> tuple[str, bytes | None]:
        """A token's name, and the bytes that it stands for; None: it is no text."""
