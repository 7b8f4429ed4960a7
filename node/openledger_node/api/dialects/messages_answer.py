"""Answers in the form of Anthropic's Messages API: content blocks, and the events that they grow by."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from openledger_protocol.errors import ProtocolError
from openledger_protocol.inference import TokenLogprob

from ...serving.answer_parts import Part, ReasoningPart, TextPart, ToolCallArguments, ToolCallStart
from ..costs import cost_fields
from ..errors import anthropic_error
from ..exchange import AnswerExchange
from ..stream import event

Spell = Callable[[int], tuple[str, bytes | None]]

REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class MessageWriter:
    """Writes one message."""

    def __init__(self, exchange: AnswerExchange, *, tokens_in: int, shows_thinking: bool, spell: Spell) -> None:
        request = exchange.request
        self._exchange = exchange
        self._shows_thinking = shows_thinking
        self._spell = spell
        self._arguments = ""  # of the call that is being written
        self._content: list[dict[str, Any]] = []
        self._is_open = False  # the last block may still grow
        self._message = {
            "id": f"msg_{request.request_id.removeprefix('0x')}",
            "type": "message",
            "role": "assistant",
            "model": request.model,
            "content": self._content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(tokens_in, 0),
        }

    @property
    def whole(self) -> dict[str, Any]:
        """The message so far."""
        return self._message

    def begin(self) -> bytes:
        """The start of the message."""
        return _event({"type": "message_start", "message": self._message}) + _event({"type": "ping"})

    def write(self, parts: Sequence[Part], logprobs: Sequence[TokenLogprob] = ()) -> bytes:
        """The events of the next parts; a part of another kind than the last one begins a block."""
        return b"".join(map(self._written, parts))

    def end(self) -> bytes:
        """The end of the last block, the reason and the usage."""
        completion = self._exchange.completion
        assert completion is not None, "the answer has ended"
        closed = self._close()
        reason, stop = self._reason(completion.ids)
        usage = _usage(completion.tokens_in, completion.tokens_out) | cost_fields([self._exchange.cost_wei])
        self._message |= {"stop_reason": reason, "stop_sequence": stop, "usage": usage}
        delta = {"stop_reason": reason, "stop_sequence": stop}
        return (
            closed
            + _event({"type": "message_delta", "delta": delta, "usage": usage})
            + _event({"type": "message_stop"})
        )

    def fail(self, error: ProtocolError) -> bytes:
        """An error event, after which Anthropic's clients read no further."""
        return _event(anthropic_error(error))

    def _written(self, part: Part) -> bytes:
        match part:
            case TextPart():
                return self._grow({"type": "text", "text": ""}, "text", part.text)
            case ReasoningPart() if not self._shows_thinking:
                return b""
            case ReasoningPart():
                return self._grow({"type": "thinking", "thinking": "", "signature": ""}, "thinking", part.text)
            case ToolCallStart():
                return self._open({"type": "tool_use", "id": part.id, "name": part.name, "input": {}})
            case ToolCallArguments():
                self._arguments += part.text
                return self._delta({"type": "input_json_delta", "partial_json": part.text})

    def _grow(self, empty: dict[str, Any], field: str, text: str) -> bytes:
        """Add text to the last block, or to a new one if the last is of another type."""
        begun = b""
        if not self._is_open or self._content[-1]["type"] != empty["type"]:
            begun = self._open(empty)
        self._content[-1][field] += text
        return begun + self._delta({"type": f"{field}_delta", field: text})

    def _open(self, block: dict[str, Any]) -> bytes:
        closed = self._close()
        self._content.append(block)
        self._is_open = True
        return closed + _event(
            {"type": "content_block_start", "index": len(self._content) - 1, "content_block": block}
        )

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event({"type": "content_block_delta", "index": len(self._content) - 1, "delta": delta})

    def _close(self) -> bytes:
        if not self._is_open:
            return b""
        self._is_open = False
        if self._content[-1]["type"] == "tool_use":
            self._content[-1]["input"] = _object(self._arguments)
            self._arguments = ""
        return _event({"type": "content_block_stop", "index": len(self._content) - 1})

    def _reason(self, ids: Sequence[int]) -> tuple[str, str | None]:
        """The reason of the end, and the stop sequence that was met."""
        reason = REASONS[self._exchange.finish_reason]
        met = met_stop(ids, self._exchange.request.sampling.stop, self._spell) if reason == "end_turn" else None
        return (reason, None) if met is None else ("stop_sequence", met)


def met_stop(ids: Sequence[int], stops: Sequence[str], spell: Spell) -> str | None:
    """The stop sequence that ended an answer, read from its tokens; None if the model ended it.

    An answer that was bought comes without its tokens, and then there is no telling.
    """
    if not ids or not stops or spell(ids[-1])[1] is None:
        return None
    text = b"".join(spell(each)[1] or b"" for each in ids).decode(errors="replace")
    found = [(at + len(stop), -len(stop), stop) for stop in stops if (at := text.find(stop)) >= 0]
    return min(found)[2] if found else None


def _usage(tokens_in: int, tokens_out: int) -> dict[str, Any]:
    return {
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }


def _object(text: str) -> dict[str, Any]:
    """The arguments of a call; empty if they are no JSON, as when `max_tokens` cut them off.

    The model may write what this node can't write again: half a surrogate pair becomes a question mark, and a number
    that is too large the largest one.
    """
    try:
        found = json.loads(text, parse_float=_finite, parse_constant=_refuse)
        found = json.loads(json.dumps(found, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _refuse(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    return max(-sys.float_info.max, min(float(text), sys.float_info.max))


def _event(content: dict[str, Any]) -> bytes:
    return event(content, name=content["type"])
