"""`/v1/completions`: raw texts in, their continuations out, whole or as events."""

from collections.abc import Sequence
from typing import Any

from openledger_protocol.errors import MalformedError, ProtocolError
from openledger_protocol.inference import InferenceRequest, TokenLogprob
from openledger_protocol.primitives import RequestId, check_text

from ..serving.answer_parts import Part, TextPart
from . import openai
from .exchange import Answered, AnswerExchange
from .openai import MARK, WriteLogprobs, head
from .request_fields import request_from_fields
from .schemas import CompletionBody
from .stream import event

KIND = "text_completion"


def request_from_completion(body: CompletionBody, *, seed: int) -> InferenceRequest:
    """Read a plain completion request.

    Raises:
        MalformedError: a field is out of bounds, or not served.
    """
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    if len(prompts) != 1:
        raise MalformedError("prompt must be one text: send one request per prompt")
    return request_from_fields(body, check_text(prompts[0]), seed=seed, num_logprobs=body.num_logprobs)


def completion_response(
    requests: Sequence[InferenceRequest],
    answers: Sequence[Answered],
    write_logprobs: Sequence[WriteLogprobs],
    *,
    created_s: int,
) -> dict[str, Any]:
    """The answers as a `text_completion`, each a choice."""
    choices = [
        {
            "index": index,
            "text": answered.completion.text,
            "logprobs": write(answered.logprobs),
            "finish_reason": answered.finish_reason,
        }
        for index, (answered, write) in enumerate(zip(answers, write_logprobs, strict=True))
    ]
    counted = openai.usage([answered.completion for answered in answers])
    return {**head(requests[0], KIND, created_s), "choices": choices, "usage": counted}


class CompletionWriter:
    """Writes one choice of a streamed completion."""

    def __init__(
        self,
        exchange: AnswerExchange,
        write_logprobs: WriteLogprobs,
        *,
        created_s: int,
        index: int = 0,
        request_id: RequestId | None = None,
    ) -> None:
        self._exchange = exchange
        self._write_logprobs = write_logprobs
        self._head = head(exchange.request, KIND, created_s, request_id=request_id)
        self._index = index
        self._render = openai.renderer(self._event(MARK))

    def begin(self) -> bytes:
        """Nothing comes before the text."""
        return b""

    def write(self, parts: Sequence[Part], logprobs: Sequence[TokenLogprob]) -> bytes:
        """One event per piece of text; the first has the probabilities."""
        texts = [part.text for part in parts if isinstance(part, TextPart)]
        if not logprobs:
            return b"".join(map(self._render, texts))
        return self._event("".join(texts), logprobs=self._write_logprobs(logprobs))

    def end(self) -> bytes:
        """The reason of the end."""
        return self._event("", finish_reason=self._exchange.finish_reason)

    def fail(self, error: ProtocolError) -> bytes:
        """The refusal."""
        return event(openai.error_body(error))

    def _event(self, text: str, *, logprobs: Any = None, finish_reason: str | None = None) -> bytes:
        choice = {"index": self._index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}
        return event({**self._head, "choices": [choice]})


def completion_ending(exchanges: Sequence[AnswerExchange], *, created_s: int, has_usage: bool) -> bytes:
    """The events after the last choice: the usage, for clients that request it, and the end."""
    if not has_usage:
        return openai.DONE
    counted = openai.usage([exchange.completion for exchange in exchanges if exchange.completion])
    return event({**head(exchanges[0].request, KIND, created_s), "choices": [], "usage": counted}) + openai.DONE
