"""Grammars for answers that must be tool calls, in the form of the base's family, or JSON after reasoning.

They are Lark text of llguidance. Each call's arguments fit its tool's schema. A marker that is a token of its own is
named by its id, because no text matches such a token.
"""

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import InferenceRequest, Tool, Tooling

from .chat_template import ChatStyle
from .closed_schema import closed
from .tool_formats import THINK_CLOSING, THINK_OPENING

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

CALLS_MAX: Final = 8
"""Calls of one answer at most, where several may follow each other: a weak model would never stop."""

JSON_OPTIONS: "JsonCompileOptions" = {"whitespace_flexible": False, "whitespace_pattern": " ?"}
"""Allow at most one space between parts, because models that may write more sometimes never stop."""

_RULE_OF_TOOL = re.compile(r"(?:args|parameter)_([0-9]+)")

AddedId = Callable[[str], int | None]


def grammar_of(request: InferenceRequest, style: ChatStyle, added_id: AddedId) -> str:
    """The grammar of a request's answer; empty if it needs none, or only that of its JSON schema.

    Raises:
        MalformedError: the schema of a tool that must be called can't be followed.
    """
    if isinstance(request.prompt, str):
        return ""
    tooling, schema = request.tooling, request.sampling.json_schema
    if tooling and tooling.choice == "none":
        tooling = None
    if tooling and (tooling.choice == "required" or schema is not None):
        return _Lark(style, added_id).calls(tooling, schema if tooling.choice == "auto" else None)
    if schema is not None and style.starts_reasoning:
        return _Lark(style, added_id).json(schema)
    return ""


def part_of(lark: str, line: int) -> str:
    """The part of a request that a line of its grammar, counted from 1, was made of."""
    rule = _RULE_OF_TOOL.match(lark.splitlines()[line - 1])
    return f"the schema of tools[{rule[1]}]" if rule else "json_schema"


class _Lark:
    """Writes the rules of one grammar."""

    def __init__(self, style: ChatStyle, added_id: AddedId) -> None:
        self._style = style
        self._family = style.family
        self._added_id = added_id
        self._rules: list[str] = []

    def calls(self, tooling: Tooling, schema: str | None) -> str:
        """Calls, or JSON of `schema`."""
        tools = [(number, each) for number, each in enumerate(tooling.tools) if tooling.name in ("", each.name)]
        self._rules.append(f"call: {' | '.join(self._call(*numbered) for numbered in tools)}")
        count = CALLS_MAX if tooling.parallel and self._style.is_parallel and not tooling.name else 1
        self._rules.append(f"calls: {self._several(count)}")
        if schema is None:
            return self._whole("calls")
        self._rules.append(f"json: %json {_with_options(json.loads(schema))}")
        return self._whole("(calls | json)")

    def json(self, schema: str) -> str:
        """JSON of `schema`."""
        return self._whole(f"%json {_with_options(json.loads(schema))}")

    def _whole(self, body: str) -> str:
        """Put reasoning before the answer, if the base reasons."""
        if not self._style.can_reason:
            return "\n".join([f"start: {body}", *self._rules])
        closing = self._added_id(THINK_CLOSING)
        if closing is None:
            self._rules.append("thought[lazy]: /(.|\\n)*<\\/think>/")
        else:
            self._rules += [f"thought: prose <[{closing}]>", "prose: /(.|\\n)*/"]
        self._rules.append("space: /[ \\n]{0,4}/")
        opened = "" if self._style.starts_reasoning else f"{self._marker(THINK_OPENING)} "
        reasoning = f"{opened}thought space"
        return "\n".join([f"start: {reasoning if not opened else f'({reasoning})?'} {body}", *self._rules])

    def _several(self, count: int) -> str:
        family = self._family
        more = f"{{0,{count - 1}}}" if count > 1 else ""
        if family.body == "list":
            items = f"call ({_text(family.between)} call){more}" if more else "call"
            return f'{self._marker(family.opening)} /[ ]?/ "[" {items} "]" {self._marker(family.closing)}'
        if family.body == "bare":
            return f"call ({_text(family.between)} call){more}" if more else "call"
        one = (self._marker(family.opening), _text(family.before), "call", _text(family.after))
        wrapped = " ".join(filter(None, (*one, self._marker(family.closing))))
        self._rules.append(f"wrapped: {wrapped}")
        return f"wrapped ({_text(family.between)} wrapped){more}" if more else "wrapped"

    def _call(self, number: int, tool: Tool) -> str:
        family, schema = self._family, json.loads(tool.parameters)
        if family.body == "xml":
            return self._xml_call(number, tool.name, schema)
        self._rules.append(f"args_{number}: %json {_with_options({**schema, 'type': schema.get('type', 'object')})}")
        if family.body == "named":
            return " ".join(filter(None, (_text(tool.name), self._marker(family.split), f"args_{number}")))
        head = f'{{"name": {json.dumps(tool.name)}, "{family.arguments}": '
        return f'{_text(head)} args_{number} "}}"'

    def _xml_call(self, number: int, name: str, schema: dict[str, Any]) -> str:
        """A call with a tag for each parameter, in the order of the schema."""
        parameters = schema.get("properties", {})
        if not isinstance(parameters, dict):
            raise MalformedError(
                f"the schema of tools[{number}] is not supported: properties must be an object", param="tools"
            )
        required, parts = _listed(schema, "required", number), []
        for place, (key, kind) in enumerate(parameters.items()):
            rule = f"parameter_{number}_{place}"
            opening = _text(f"<parameter={key}>\n")
            choices = _listed(kind, "enum", number) if isinstance(kind, dict) else []
            if choices and all(isinstance(each, str) for each in choices):
                self._rules.append(f'{rule}: {opening} ({" | ".join(map(_text, choices))}) "\\n</parameter>\\n"')
            elif isinstance(kind, dict) and kind.get("type", "string") != "string":
                defs: dict[str, Any] = {each: schema[each] for each in ("$defs", "definitions") if each in schema}
                self._rules.append(f'{rule}: {opening} %json {_with_options({**defs, **kind})} "\\n</parameter>\\n"')
            else:
                self._rules += [
                    f"{rule}: {opening} {rule}_text",
                    f"{rule}_text[lazy]: /(.|\\n)*\\n<\\/parameter>\\n/",
                ]
            parts.append(rule if key in required else f"{rule}?")
        return " ".join([_text(f"<function={name}>\n"), *parts, '"</function>"'])

    def _marker(self, text: str) -> str:
        if not text:
            return ""
        found = self._added_id(text)
        return _text(text) if found is None else f"<[{found}]>"


def _listed(schema: dict[str, Any], key: str, number: int) -> list[Any]:
    """A list of a tool's schema, empty if it is absent.

    Raises:
        MalformedError: it is none.
    """
    found = schema.get(key, [])
    if not isinstance(found, list):
        raise MalformedError(f"the schema of tools[{number}] is not supported: {key} must be a list", param="tools")
    return found


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if text else ""


def _with_options(schema: dict[str, Any]) -> str:
    return json.dumps({**closed(schema), "x-guidance": JSON_OPTIONS}, ensure_ascii=False, separators=(",", ":"))
