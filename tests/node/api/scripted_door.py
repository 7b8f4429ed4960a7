"""A door behind which every request gets the same answer, piece by piece, without an engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import trio
from support.apis import EmptyDoor

from openledger_node.engine.chat_template import ChatStyle
from openledger_node.serving.answer_parts import AnswerFormat, answer_format
from openledger_node.serving.service import Failure
from openledger_protocol.errors import ProtocolError
from openledger_protocol.inference import Completion, FinishReason, InferenceRequest, TokenChunk, TokenLogprob


@dataclass(frozen=True)
class LetIn:
    """A request that was let in."""

    request: InferenceRequest


class ScriptedDoor(EmptyDoor):
    """Notes each request, and answers it with `pieces`: each is one token."""

    loading = None

    def __init__(
        self,
        pieces: Sequence[str] = ("Hello", " sea"),
        *,
        style: ChatStyle | None = None,
        finish_reason: FinishReason = "stop",
        failure: ProtocolError | None = None,
        places: int = 64,
    ) -> None:
        self.pieces = pieces
        self.requests: list[InferenceRequest] = []
        self.num_released = 0
        self._style = style or ChatStyle()
        self._finish_reason: FinishReason = finish_reason
        self._failure = failure  # after the last piece
        self._places = places
        self._full: ProtocolError | None = None

    def refuse_after(self, places: int, error: ProtocolError) -> None:
        """Let in so many requests, and refuse the next ones."""
        self._places, self._full = places, error

    async def admit(self, request: InferenceRequest) -> Any:
        if len(self.requests) >= self._places and self._full:
            raise self._full
        self.requests.append(request)
        return LetIn(request)

    def release(self, admitted: LetIn) -> None:
        self.num_released += 1

    def answer_format(self, request: InferenceRequest) -> AnswerFormat:
        return answer_format(self._style, request)

    async def handle(self, admitted: LetIn, send: Any) -> None:
        """Answer, and close the channel as the router does."""
        sampling = admitted.request.sampling
        async with send:
            for number, piece in enumerate(self.pieces):
                logprobs = (TokenLogprob(id=number, logprob=-0.5),) if sampling.logprobs is not None else ()
                await send.send(TokenChunk(text=piece, ids=(number,), logprobs=logprobs))
            await send.send(Failure(error=self._failure) if self._failure else self._completion(admitted.request))

    async def prompt_ids(self, request: InferenceRequest) -> tuple[int, ...]:
        return tuple(range(5))

    def spell(self, token_id: int) -> tuple[str, bytes | None]:
        return self.pieces[token_id], self.pieces[token_id].encode()

    def _completion(self, request: InferenceRequest) -> Completion:
        return Completion(
            request_id=request.request_id,
            base="fake",
            adapter_id=None,
            text="".join(self.pieces),
            ids=tuple(range(len(self.pieces))),
            finish_reason=self._finish_reason,
            tokens_in=5,
            tokens_out=len(self.pieces),
        )


class EndlessDoor(ScriptedDoor):
    """Answers until its reader has left, and notes both."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun, self.was_left = trio.Event(), trio.Event()

    async def handle(self, admitted: Any, send: Any) -> None:
        self.has_begun.set()
        try:
            while True:
                await send.send(TokenChunk(text="x", ids=(1,)))
        except trio.BrokenResourceError:
            self.was_left.set()
