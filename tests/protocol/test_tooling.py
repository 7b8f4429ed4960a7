"""Tools and turns with tools: each bound from both sides."""

from dataclasses import replace
from typing import Any

import pytest

from openledger_protocol.constants import (
    JSON_SCHEMA_BYTES_MAX,
    TOOL_CALL_ID_LENGTH_MAX,
    TOOL_DESCRIPTION_LENGTH_MAX,
    TOOL_NAME_LENGTH_MAX,
    TOOLS_MAX,
)
from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import (
    Message,
    Tool,
    ToolCall,
    Tooling,
    check_messages,
    check_tooling,
)

TOOL = Tool(name="get_weather", description="The weather of a town.", parameters='{"type":"object"}')
TOOLING = Tooling(tools=(TOOL,))
CALL = ToolCall(id="call_1", name="get_weather", arguments='{"town":"Turku"}')
LARGEST_SCHEMA = '{"title":"' + "x" * (JSON_SCHEMA_BYTES_MAX - 12) + '"}'


def tools(count: int, **changes: Any) -> tuple[Tool, ...]:
    return tuple(replace(TOOL, **{"name": f"tool_{number}", **changes}) for number in range(count))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tools": tools(TOOLS_MAX)},
        {"tools": (replace(TOOL, name="a-B_" + "0" * (TOOL_NAME_LENGTH_MAX - 4)),)},
        {"tools": (replace(TOOL, description="x" * TOOL_DESCRIPTION_LENGTH_MAX),)},
        {"tools": (replace(TOOL, parameters=LARGEST_SCHEMA),)},
        {"choice": "none"},
        {"choice": "required", "name": "get_weather", "parallel": False},
    ],
)
def test_tools_at_their_bounds_pass(changes: dict[str, Any]) -> None:
    tooling = replace(TOOLING, **changes)
    assert check_tooling(tooling) is tooling


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"tools": ()}, "tools takes 1 to 128 tools"),
        ({"tools": tools(TOOLS_MAX + 1)}, "tools takes 1 to 128 tools"),
        ({"tools": (TOOL, TOOL)}, "tools has two tools of one name"),
        ({"tools": (TOOL, replace(TOOL, name="a b"))}, "tools[1]: name must be 1 to 128 letters, digits, _ and -"),
        ({"tools": (replace(TOOL, name=""),)}, "tools[0]: name must be 1 to 128 letters"),
        ({"tools": (replace(TOOL, name="hafen\n"),)}, "tools[0]: name must be 1 to 128 letters"),
        ({"tools": (replace(TOOL, name="ü"),)}, "tools[0]: name must be 1 to 128 letters"),
        ({"tools": (replace(TOOL, name="x" * (TOOL_NAME_LENGTH_MAX + 1)),)}, "tools[0]: name must be"),
        (
            {"tools": (replace(TOOL, description="x" * (TOOL_DESCRIPTION_LENGTH_MAX + 1)),)},
            "tools[0]: description must be at most 32768 characters long",
        ),
        ({"tools": (replace(TOOL, description="\ud800"),)}, "tools[0]: a text holds half a surrogate pair"),
        ({"tools": (replace(TOOL, parameters=LARGEST_SCHEMA + " "),)}, "tools[0]: parameters must be at most 65536"),
        ({"tools": (replace(TOOL, parameters="{"),)}, "tools[0]: parameters must be JSON text"),
        ({"tools": (replace(TOOL, parameters="[" * 60_000),)}, "tools[0]: parameters must be JSON text"),
        ({"tools": (replace(TOOL, parameters="[]"),)}, "tools[0]: parameters must be a JSON object"),
        ({"tools": tools(9, parameters=LARGEST_SCHEMA)}, "tools has 590022 bytes, and 524288 is the maximum"),
        ({"choice": "any"}, "tool_choice must be auto, none, required or a tool"),
        ({"choice": "required", "name": "get_time"}, "tool_choice names 'get_time', which is not in tools"),
        ({"name": "get_weather"}, "tool_choice names a tool, so the choice must be required"),
    ],
)
def test_tools_out_of_bounds_are_refused_by_name(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(MalformedError) as refusal:
        check_tooling(replace(TOOLING, **changes))
    assert refusal.value.message.startswith(rule)
    assert refusal.value.values["param"] in ("tools", "tool_choice")


def test_turns_with_calls_and_their_results_pass() -> None:
    turns = (
        Message(role="user", content="Is it raining in Turku?"),
        Message(role="assistant", content="", tool_calls=(CALL, replace(CALL, id="call_2", arguments=""))),
        Message(role="tool", content="rain", tool_call_id="call_1"),
    )
    assert check_messages(turns) is turns


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        (
            Message(role="user", content="", tool_calls=(CALL,)),
            "tool_calls are the assistant's, and its role is user",
        ),
        (Message(role="assistant", content="", tool_calls=(CALL,) * 129), "tool_calls takes at most 128 calls"),
        (Message(role="assistant", content="", tool_calls=(replace(CALL, id=""),)), "id must be 1 to 256 characters"),
        (Message(role="assistant", content="", tool_calls=(replace(CALL, name="a b"),)), "name must be 1 to 128"),
        (
            Message(role="assistant", content="", tool_calls=(replace(CALL, arguments='{"town":'),)),
            "arguments must be JSON text",
        ),
        (
            Message(role="assistant", content="", tool_calls=(replace(CALL, arguments='"Turku"'),)),
            "arguments must be a JSON object",
        ),
        (Message(role="tool", content="rain"), "tool_call_id must be 1 to 256 characters long"),
        (
            Message(role="tool", content="rain", tool_call_id="x" * (TOOL_CALL_ID_LENGTH_MAX + 1)),
            "tool_call_id must be 1 to 256 characters long",
        ),
        (
            Message(role="user", content="rain", tool_call_id="call_1"),
            "tool_call_id is a tool's, and its role is user",
        ),
        (Message(role="user", content="\ud800"), "a text holds half a surrogate pair"),
    ],
)
def test_a_turn_that_breaks_a_rule_is_named(message: Message, rule: str) -> None:
    with pytest.raises(MalformedError) as refusal:
        check_messages((Message(role="user", content="first"), message))
    assert refusal.value.message.startswith(f"messages[1]: {rule}")
    assert refusal.value.values["param"] == "messages"
