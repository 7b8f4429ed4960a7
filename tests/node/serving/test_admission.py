from dataclasses import replace

import pytest
from node.engine.scripted_child import PROFILE

from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.serving.admission import Capacity, abilities_of, grant_tokens, prepare
from openledger_protocol.errors import (
    MalformedError,
    OverloadedError,
    ProtocolError,
    RequestTooLongError,
    UnavailableError,
)
from openledger_protocol.inference import InferenceRequest, Message, SamplingParams, Tool, Tooling, abilities_for
from openledger_protocol.primitives import ZERO_DIGEST, RequestId

CAPACITY = Capacity(context_max=100, queue_max=4, num_live=0, is_draining=False)


@pytest.mark.parametrize(
    ("capacity", "num_prompt_tokens", "refusal", "message"),
    [
        (replace(CAPACITY, is_draining=True), 10, UnavailableError, "stopping"),
        (replace(CAPACITY, num_live=4), 10, OverloadedError, "try again"),
        (CAPACITY, 0, MalformedError, "empty"),
        (CAPACITY, 100, RequestTooLongError, "100 tokens"),
    ],
)
def test_a_request_that_has_no_place_or_no_room_is_refused(
    capacity: Capacity, num_prompt_tokens: int, refusal: type[ProtocolError], message: str
) -> None:
    with pytest.raises(refusal, match=message):
        grant_tokens(capacity, num_prompt_tokens=num_prompt_tokens, max_tokens=5)


@pytest.mark.parametrize(("num_prompt_tokens", "max_tokens", "granted"), [(10, 5, 5), (10, 500, 90), (99, 5, 1)])
def test_max_tokens_is_a_ceiling_that_yields_to_the_prompt(
    num_prompt_tokens: int, max_tokens: int, granted: int
) -> None:
    assert grant_tokens(CAPACITY, num_prompt_tokens=num_prompt_tokens, max_tokens=max_tokens) == granted


# ── what a backend that draws tokens on its own can do with tools and schemas ─────────────────────────────────────

TOOLING = Tooling(tools=(Tool(name="stop", description="", parameters="{}"),))
SCHEMA = '{"type":"object"}'
ELSEWHERE = replace(PROFILE, backend="vllm", draws_elsewhere=True)


def request(tooling: Tooling | None = None, *, json_schema: str | None = None, prefix: str = "") -> InferenceRequest:
    return InferenceRequest(
        request_id=RequestId(ZERO_DIGEST),
        model="fake",
        prompt=(Message(role="user", content="Hi"),),
        sampling=SamplingParams(max_tokens=9, seed=0, json_schema=json_schema),
        prefix=prefix,
        tooling=tooling,
    )


@pytest.mark.parametrize(
    ("asked", "needed", "refusal"),
    [
        (request(), set(), None),
        (request(json_schema=SCHEMA), {"schema"}, None),
        (request(TOOLING), {"tools"}, None),
        (request(replace(TOOLING, choice="none"), json_schema=SCHEMA), {"tools", "schema"}, None),
        (request(replace(TOOLING, choice="required")), {"tools", "calls"}, "can't force a tool call"),
        (request(TOOLING, json_schema=SCHEMA), {"tools", "calls", "schema"}, "can't force a tool call"),
        (request(json_schema=SCHEMA, prefix="{"), {"schema"}, "can't resume an answer with a JSON schema"),
    ],
)
def test_what_a_backend_cannot_follow_is_refused_by_name(
    asked: InferenceRequest, needed: set[str], refusal: str | None
) -> None:
    assert abilities_for(asked) == needed
    assert needed <= {*abilities_of(PROFILE)}
    assert prepare(ByteTokenizer(), PROFILE, asked).num_prefix == len(asked.prefix)
    if refusal is None:
        assert needed <= {*abilities_of(ELSEWHERE)}
        assert prepare(ByteTokenizer(), ELSEWHERE, asked).grammar == ""
    else:
        with pytest.raises(MalformedError, match=f"backend vllm {refusal}"):
            prepare(ByteTokenizer(), ELSEWHERE, asked)


def test_a_node_whose_engine_was_never_loaded_promises_nothing() -> None:
    assert abilities_of(None) == ()
