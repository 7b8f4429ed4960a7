"""Answers in the form of OpenAI's Responses API: output items, and the numbered events that they grow by."""

from collections.abc import Sequence
from typing import Any

from openledger_protocol.errors import ProtocolError
from openledger_protocol.inference import InferenceRequest, TokenLogprob

from ...serving.answer_parts import Part, ReasoningPart, TextPart, ToolCallArguments, ToolCallStart
from ..costs import cost_fields
from ..exchange import AnswerExchange
from ..openai import sendable
from ..stream import event
from .namespaces import flatten
from .responses_request import ResponsesBody

FAILURES = {"overloaded": "rate_limit_exceeded", "malformed": "invalid_prompt"}
"""Codes of a failed response by the protocol's; all others are the server's."""


class ResponseWriter:
    """Writes one response."""

    def __init__(self, exchange: AnswerExchange, body: ResponsesBody, *, created_s: int) -> None:
        request = exchange.request
        self._exchange = exchange
        self._number = request.request_id.removeprefix("0x")
        self._sequence_number = 0
        self._output: list[dict[str, Any]] = []
        self._is_open = False  # the last item may still grow
        _, self._names = flatten(body.tools or [])
        self._response = {**response_head(request, body, created_s), "output": self._output}

    @property
    def whole(self) -> dict[str, Any]:
        """The response so far."""
        return self._response

    def begin(self) -> bytes:
        """The events of an empty response."""
        return self._event("response.created", response=self._response) + self._event(
            "response.in_progress", response=self._response
        )

    def write(self, parts: Sequence[Part], logprobs: Sequence[TokenLogprob] = ()) -> bytes:
        """The events of the next parts; a part of another kind than the last one begins an item."""
        return b"".join(map(self._written, parts))

    def end(self) -> bytes:
        """The end of the last item, and the whole response."""
        is_cut = self._exchange.finish_reason == "length"
        status = "incomplete" if is_cut else "completed"
        closed = self._close(status)
        self._response |= {
            "status": status,
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "usage": _usage(self._exchange),
        }
        return closed + self._event(f"response.{status}", response=self._response)

    def fail(self, error: ProtocolError) -> bytes:
        """The end of a response that was cut off."""
        closed = self._close("incomplete")
        failure = {"code": FAILURES.get(error.code, "server_error"), "message": sendable(error.message)}
        self._response |= {"status": "failed", "error": failure}
        return closed + self._event("response.failed", response=self._response)

    def _written(self, part: Part) -> bytes:
        match part:
            case TextPart():
                begun = self._begin_text("message", "msg", role="assistant")
                self._last["content"][0]["text"] += part.text
                return begun + self._event("response.output_text.delta", **self._place, delta=part.text, logprobs=[])
            case ReasoningPart():
                begun = self._begin_text("reasoning", "rs", summary=[])
                self._last["content"][0]["text"] += part.text
                return begun + self._event("response.reasoning_text.delta", **self._place, delta=part.text)
            case ToolCallStart():
                function = self._names.from_model(part.name)
                grouped = {"namespace": function.namespace} if function.namespace else {}
                named = {"call_id": part.id, "name": function.name, **grouped}
                return self._open("function_call", "fc", **named, arguments="")
            case ToolCallArguments():
                self._last["arguments"] += part.text
                return self._event("response.function_call_arguments.delta", **self._item_place, delta=part.text)

    @property
    def _last(self) -> dict[str, Any]:
        return self._output[-1]

    @property
    def _item_place(self) -> dict[str, Any]:
        return {"item_id": self._last["id"], "output_index": len(self._output) - 1}

    @property
    def _place(self) -> dict[str, Any]:
        return {**self._item_place, "content_index": 0}

    def _event(self, kind: str, **fields: Any) -> bytes:
        numbered = {"type": kind, **fields, "sequence_number": self._sequence_number}
        self._sequence_number += 1
        return event(numbered, name=kind)

    def _begin_text(self, kind: str, prefix: str, **fields: Any) -> bytes:
        """Open an item with one part of text, unless it is open."""
        if self._is_open and self._last["type"] == kind:
            return b""
        begun = self._open(kind, prefix, **fields, content=[])
        part = {"type": "reasoning_text", "text": ""} if kind == "reasoning" else _output_text()
        self._last["content"].append(part)
        return begun + self._event("response.content_part.added", **self._place, part=part)

    def _open(self, kind: str, prefix: str, **fields: Any) -> bytes:
        closed = self._close("completed")
        item_id = f"{prefix}_{self._number}{len(self._output)}"
        self._output.append({"id": item_id, "type": kind, "status": "in_progress", **fields})
        self._is_open = True
        return closed + self._event("response.output_item.added", output_index=len(self._output) - 1, item=self._last)

    def _close(self, status: str) -> bytes:
        if not self._is_open:
            return b""
        self._is_open = False
        self._last["status"] = status
        done = self._done()
        return done + self._event("response.output_item.done", output_index=len(self._output) - 1, item=self._last)

    def _done(self) -> bytes:
        if self._last["type"] == "function_call":
            whole = {"name": self._last["name"], "arguments": self._last["arguments"]}
            return self._event("response.function_call_arguments.done", **self._item_place, **whole)
        part = self._last["content"][0]
        if self._last["type"] == "reasoning":
            done = self._event("response.reasoning_text.done", **self._place, text=part["text"])
        else:
            done = self._event("response.output_text.done", **self._place, text=part["text"], logprobs=[])
        return done + self._event("response.content_part.done", **self._place, part=part)


def response_head(request: InferenceRequest, body: ResponsesBody, created_s: int) -> dict[str, Any]:
    """A response that has just begun, with the fields of its request."""
    return {
        "id": f"resp_{request.request_id.removeprefix('0x')}",
        "object": "response",
        "created_at": created_s,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": None,
        "metadata": body.metadata or {},
        "model": request.model,
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": request.sampling.temperature,
        "text": {"format": {"type": "text"}, **(body.text or {})},
        "tool_choice": body.tool_choice or "auto",
        "tools": body.tools or [],
        "top_p": request.sampling.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": body.user,
    }


def _output_text() -> dict[str, Any]:
    return {"type": "output_text", "text": "", "annotations": [], "logprobs": []}


def _usage(exchange: AnswerExchange) -> dict[str, Any]:
    completion = exchange.completion
    assert completion is not None, "the answer has ended"
    return {
        "input_tokens": completion.tokens_in,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": completion.tokens_out,
        "output_tokens_details": {"reasoning_tokens": exchange.reasoning_tokens or 0},
        "total_tokens": completion.tokens_in + completion.tokens_out,
        **cost_fields([exchange.cost_wei]),
    }
