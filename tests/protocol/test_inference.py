"""Sampling parameters: each bound from both sides."""

from dataclasses import replace
from typing import Any

import pytest

from openledger_protocol.constants import (
    ARGUMENTS_DEPTH_MAX,
    JSON_DEPTH_MAX,
    JSON_SCHEMA_BYTES_MAX,
    STOP_STRING_LENGTH_MAX,
    STOP_STRINGS_MAX,
    TEMPERATURE_MAX,
)
from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import (
    TOOLS,
    InferenceRequest,
    Message,
    SamplingParams,
    Tool,
    ToolCall,
    Tooling,
    abilities_for,
    check_messages,
    check_sampling,
    check_tooling,
)
from openledger_protocol.primitives import ZERO_DIGEST, RequestId

PLAIN = SamplingParams(max_tokens=1, seed=0)
NAN, INFINITY = float("nan"), float("inf")
FULL_STOP = ("x" * STOP_STRING_LENGTH_MAX,) * STOP_STRINGS_MAX
SCHEMA = '{"title":"' + "x" * (JSON_SCHEMA_BYTES_MAX - 12) + '"}'


@pytest.mark.parametrize(
    ("name", "inside", "outside", "rule"),
    [
        ("max_tokens", (1, 1 << 40), (0, -1), "max_tokens must be at least 1"),
        ("seed", (0, 2**64 - 1), (-1, 2**64), "seed must be an unsigned 64-bit integer"),
        ("temperature", (0, TEMPERATURE_MAX), (-0.001, 2.001, NAN, INFINITY), "temperature must be from 0 to 2"),
        ("top_p", (1e-9, 1), (0.0, 1.001, NAN), "top_p must be over 0 and at most 1"),
        ("top_k", (0, 2**31 - 1), (-1, 2**31), "top_k must be from 0 to 2147483647"),
        ("min_p", (0, 1), (-0.001, 1.001, NAN), "min_p must be from 0 to 1"),
        ("stop", (FULL_STOP,), (("a",) * (STOP_STRINGS_MAX + 1),), "stop takes at most 16 strings"),
        ("stop", (FULL_STOP,), (("",), (FULL_STOP[0] + "x",)), "stop takes strings of 1 to 256 characters"),
        ("frequency_penalty", (-2, 2), (-2.001, 2.001, NAN), "frequency_penalty must be from -2 to 2"),
        ("presence_penalty", (-2, 2), (-2.001, 2.001, NAN), "presence_penalty must be from -2 to 2"),
        ("repetition_penalty", (1e-9, 2), (0, 2.001, NAN), "repetition_penalty must be over 0 and at most 2"),
        ("logprobs", (0, 20), (-1, 21), "logprobs must be from 0 to 20"),
        ("json_schema", ("{}", SCHEMA), (SCHEMA + " ",), "json_schema must be at most 65536 bytes long"),
        ("json_schema", ("{}",), ("", "{", "[" * 60_000), "json_schema must be JSON text"),
        ("json_schema", ("{}",), ("[]", "true"), "json_schema must be a JSON object"),
    ],
)
def test_a_parameter_passes_at_its_bounds_and_is_named_outside_of_them(
    name: str, inside: tuple[Any, ...], outside: tuple[Any, ...], rule: str
) -> None:
    for value in inside:
        params = replace(PLAIN, **{name: value})
        assert check_sampling(params) is params
    for value in outside:
        with pytest.raises(MalformedError) as refusal:
            check_sampling(replace(PLAIN, **{name: value}))
        assert refusal.value.message == rule


# ---- tools and turns


def nested(levels: int) -> str:
    """JSON text of an object with lists in it, so many levels deep."""
    return '{"a":' + "[" * (levels - 1) + "0" + "]" * (levels - 1) + "}"


def turn_of(*calls: ToolCall) -> Message:
    return Message(role="assistant", content="", tool_calls=calls)


@pytest.mark.parametrize("levels", [ARGUMENTS_DEPTH_MAX + 1, 850, 20_000])
def test_json_is_nested_only_so_deep(levels: int) -> None:
    deep, rule = nested(levels), "parameters must be (nested at most (32|256) levels deep|JSON text)"
    check_messages((turn_of(ToolCall(id="1", name="f", arguments=nested(ARGUMENTS_DEPTH_MAX))),))
    check_tooling(Tooling(tools=(Tool(name="f", description="", parameters=nested(JSON_DEPTH_MAX)),)))
    with pytest.raises(MalformedError, match=rf"^tools\[0\]: {rule}$"):
        check_tooling(Tooling(tools=(Tool(name="f", description="", parameters=deep),)))
    with pytest.raises(MalformedError, match=rf"^messages\[0\]: {rule.replace('parameters', 'arguments')}$"):
        check_messages((turn_of(ToolCall(id="1", name="f", arguments=deep)),))
    for schema in (deep, nested(JSON_DEPTH_MAX + 1)):
        with pytest.raises(MalformedError, match=f"^{rule.replace('parameters', 'json_schema')}$"):
            check_sampling(replace(PLAIN, json_schema=schema))


@pytest.mark.parametrize("text", [r'{"d":"\ud800"}', r'{"\udc00":1}', r'{"d":["\ud83d x"]}'])
def test_half_a_surrogate_pair_is_refused_in_escapes_too(text: str) -> None:
    check_messages((turn_of(ToolCall(id="1", name="f", arguments=r'{"d":"\ud83d\ude00"}')),))
    with pytest.raises(MalformedError, match=r"^messages\[0\]: arguments: .* half a surrogate pair"):
        check_messages((turn_of(ToolCall(id="1", name="f", arguments=text)),))
    with pytest.raises(MalformedError, match=r"^tools\[0\]: parameters: .* half a surrogate pair"):
        check_tooling(Tooling(tools=(Tool(name="f", description="", parameters=text),)))


def test_calls_of_one_turn_have_ids_of_their_own() -> None:
    call = ToolCall(id="1", name="f", arguments="{}")
    check_messages((turn_of(call, replace(call, id="2")), turn_of(call)))
    with pytest.raises(MalformedError, match=r"^messages\[0\]: tool_calls has two calls of one id$"):
        check_messages((turn_of(call, replace(call, name="g")),))


def test_a_turn_with_calls_needs_a_node_that_knows_tools() -> None:
    asked = Message(role="user", content="Hi")
    request = InferenceRequest(request_id=RequestId(ZERO_DIGEST), model="base", prompt=(asked,), sampling=PLAIN)
    assert abilities_for(request) == frozenset()
    called = replace(request, prompt=(asked, turn_of(ToolCall(id="1", name="f", arguments="{}")), asked))
    assert abilities_for(called) == {TOOLS}
