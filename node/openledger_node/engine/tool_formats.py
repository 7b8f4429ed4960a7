"""The forms in which families of models write tool calls: one row each, found by a base's chat template.

A template that renders calls shows which family its model was trained on. A base whose template takes no tools, or
renders calls in a form that is not in this table, is shown them in the form of Hermes, which models follow best
without training.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from openledger_protocol.inference import Tool, ToolCall

Body = Literal["object", "list", "named", "bare", "xml"]
"""The text between `opening` and `closing`.

object  {"name": …, "arguments": {…}}, each call with its own opening and closing
list    [{"name": …, "arguments": {…}}, …], all calls in one list
named   NAME{…}: the name stands before its arguments, each call with its own opening
bare    {"name": …, "parameters": {…}} without an opening, at the start of an answer
xml     <function=NAME> with a <parameter=KEY> for each argument
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFamily:
    """The form in which the models of one family write calls."""

    name: str
    body: Body
    opening: str = ""
    closing: str = ""
    before: str = ""  # written between the opening and the call, as the template writes it
    after: str = ""
    between: str = ""  # written between two calls
    arguments: str = "arguments"  # the key of the arguments
    split: str = ""  # with `named`: between the name and its arguments
    sign: str  # a regular expression that finds a call of `PROBE` as the family's templates render it


PROBE: Final = ToolCall(id="probe0001", name="probe_tool", arguments='{"probe_key":"probe value"}')
_ARGUMENTS: Final = r'\{\s*"probe_key"\s*:\s*"probe value"\s*\}'
_CALL: Final = rf'\{{\s*"name"\s*:\s*"probe_tool"\s*,\s*"arguments"\s*:\s*{_ARGUMENTS}'

HERMES: Final = CallFamily(
    name="hermes",
    body="object",
    opening="<tool_call>",
    closing="</tool_call>",
    before="\n",
    after="\n",
    between="\n",
    sign=rf"<tool_call>\s*{_CALL}\s*\}}\s*</tool_call>",
)
"""Qwen 2.5 and 3, Hermes, and every base whose template takes no tools."""

PHI_LIST: Final = CallFamily(
    name="phi-list",
    body="list",
    opening="<|tool_call|>",
    closing="<|/tool_call|>",
    between=", ",
    sign=rf"<\|tool_call\|>\s*\[{_CALL}",
)
"""Phi 4 mini, whose template takes tools in the system message and renders no calls."""

FAMILIES: Final = (
    HERMES,
    CallFamily(
        name="qwen-coder",
        body="xml",
        opening="<tool_call>",
        closing="</tool_call>",
        before="\n",
        after="\n",
        between="\n",
        sign=r"<tool_call>\s*<function=probe_tool>\s*<parameter=probe_key>\s*probe value\s*</parameter>",
    ),
    CallFamily(
        name="mistral", body="list", opening="[TOOL_CALLS]", between=", ", sign=rf"\[TOOL_CALLS\]\s*\[{_CALL}"
    ),
    CallFamily(
        name="mistral-args",
        body="named",
        opening="[TOOL_CALLS]",
        split="[ARGS]",
        sign=rf"\[TOOL_CALLS\]probe_tool(\[CALL_ID\]\w+)?\[ARGS\]{_ARGUMENTS}",
    ),
    CallFamily(
        name="mistral-named", body="named", opening="[TOOL_CALLS]", sign=rf"\[TOOL_CALLS\]probe_tool{_ARGUMENTS}"
    ),
    PHI_LIST,
    CallFamily(
        name="phi",
        body="object",
        opening="<|tool_call|>",
        closing="<|/tool_call|>",
        sign=rf"<\|tool_call\|>\s*{_CALL}",
    ),
    CallFamily(
        name="llama",
        body="bare",
        opening="<|python_tag|>",  # optional: Llama 3.1 writes it only before calls of its built-in tools
        between="; ",
        arguments="parameters",
        sign=rf'\{{\s*"name"\s*:\s*"probe_tool"\s*,\s*"parameters"\s*:\s*{_ARGUMENTS}',
    ),
)

THINK_OPENING: Final = "<think>"
THINK_CLOSING: Final = "</think>"

MARKERS: Final = frozenset(
    {THINK_OPENING, THINK_CLOSING, "[CALL_ID]"}
    | {marker for family in FAMILIES for marker in (family.opening, family.closing, family.split) if marker}
)
"""Special tokens that are part of an answer's text, as otherwise nobody could tell a call from prose."""


def family_of(rendered: str) -> CallFamily | None:
    """The family of a template by its rendering of a conversation in which `PROBE` is called; None if unknown."""
    return next((family for family in FAMILIES if re.search(family.sign, rendered)), None)


def write_calls(family: CallFamily, calls: Sequence[ToolCall]) -> str:
    """Write calls as the family's models do, for a template that can't."""
    written = [_write(family, call) for call in calls]
    if family.body == "list":
        return f"{family.opening}[{family.between.join(written)}]{family.closing}"
    if family.body == "bare":
        return family.between.join(written)
    wrapped = (f"{family.opening}{family.before}{each}{family.after}{family.closing}" for each in written)
    return family.between.join(wrapped)


def _write(family: CallFamily, call: ToolCall) -> str:
    arguments = call.arguments or "{}"
    if family.body == "named":
        return f"{call.name}{family.split}{arguments}"
    assert family.body != "xml", "templates of this form render calls themselves"
    return f'{{"name": {json.dumps(call.name)}, "{family.arguments}": {arguments}}}'


# ---- Tools in plain text, for a template that takes none.

INSTRUCTIONS: Final = """\
You may call one or more of the functions below. Each is a JSON object with a JSON schema of its parameters.
<tools>
{tools}
</tools>
To call a function, write a JSON object with its name and its arguments between these tags:
<tool_call>
{{"name": "function_name", "arguments": {{"parameter": "value"}}}}
</tool_call>"""


def instructions_for(tools: Sequence[Tool]) -> str:
    """The part of the system message that shows the tools."""
    lines = [json.dumps(plain_tool(tool), ensure_ascii=False) for tool in tools]
    return INSTRUCTIONS.format(tools="\n".join(lines))


def plain_tool(tool: Tool) -> dict[str, object]:
    """A tool in the form that chat templates take."""
    function = {"name": tool.name, "description": tool.description, "parameters": json.loads(tool.parameters)}
    return {"type": "function", "function": function}
