"""An exchange that has given its parts: what a dialect's writer sees of it."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from openledger_protocol.inference import Completion, FinishReason, InferenceRequest, Message, SamplingParams
from openledger_protocol.primitives import ZERO_WEI, RequestId, Wei

REQUEST_ID = RequestId("0x" + "ab" * 32)


def request(**sampling: object) -> InferenceRequest:
    params = SamplingParams(max_tokens=9, seed=1, **sampling)  # type: ignore[arg-type]
    return InferenceRequest(
        request_id=REQUEST_ID, model="fake", prompt=(Message(role="user", content="x"),), sampling=params
    )


def completion(text: str = "", reason: FinishReason = "stop", **changes: Any) -> Completion:
    """An answer of the fake base, a token a byte."""
    plain = Completion(
        request_id=REQUEST_ID,
        base="fake",
        adapter_id=None,
        text=text,
        ids=tuple(text.encode()),
        finish_reason=reason,
        tokens_in=11,
        tokens_out=5,
    )
    return replace(plain, **changes)


@dataclass
class FakeExchange:
    """An answer that has ended."""

    finish_reason: Literal["stop", "length", "tool_calls"] = "stop"
    request: InferenceRequest = field(default_factory=request)
    completion: Completion = field(default_factory=completion)
    cost_wei: Wei | None = ZERO_WEI
    reasoning_tokens: int | None = 2
