"""Namespaces of OpenAI's Responses: named groups of functions, offered to a model as functions with longer names.

Chat templates know only functions. So the function `open` of the namespace `door` is offered as `door__open`, and the
answer has a call of it under both names.
"""

import hashlib
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from openledger_protocol.constants import TOOL_NAME_LENGTH_MAX
from openledger_protocol.errors import MalformedError

SEPARATOR: Final = "__"
DIGEST_LENGTH: Final = 8
"""Hex digits that end a name which would be too long, or which another tool has."""


@dataclass(frozen=True, slots=True)
class FunctionName:
    """A function's name in a request."""

    namespace: str  # empty for a function outside of namespaces
    name: str


@dataclass(frozen=True, slots=True)
class FlatNames:
    """The names under which a model sees the functions of namespaces."""

    by_function: Mapping[FunctionName, str] = field(default_factory=dict)

    def to_model(self, function: FunctionName) -> str:
        """The model's name of a function; an earlier call may be of one that is not offered any more."""
        return self.by_function.get(function) or _flat_name(function, taken=())

    def from_model(self, name: str) -> FunctionName:
        """The function that a model calls by this name."""
        found = (function for function, flat in self.by_function.items() if flat == name)
        return next(found, FunctionName("", name))

    def find(self, name: str) -> list[str]:
        """The model's names of all functions called `name` within namespaces."""
        return [flat for function, flat in self.by_function.items() if function.name == name]


def flatten(tools: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], FlatNames]:
    """Take the functions out of their namespaces; other tools stay as they are, in the same order.

    A namespace's description stands before that of its first function, so that the model reads it once.

    Raises:
        MalformedError: a namespace has no name, or no tools.
    """
    taken = {str(tool.get("name")) for tool in tools if tool.get("type") != "namespace"}
    names: dict[FunctionName, str] = {}
    flat: list[dict[str, Any]] = []
    for tool in tools:
        if tool.get("type") != "namespace":
            flat.append(tool)
            continue
        for function in _functions(tool):
            grouped = FunctionName(tool["name"], str(function.get("name")))
            if grouped in names:
                raise MalformedError(
                    f"the namespace {grouped.namespace!r} has two tools named {grouped.name!r}: rename one",
                    param="tools",
                )
            names[grouped] = _flat_name(grouped, taken)
            taken.add(names[grouped])
            flat.append({**function, "name": names[grouped]})
    return flat, FlatNames(names)


def _functions(namespace: dict[str, Any]) -> Iterator[dict[str, Any]]:
    match namespace:
        case {"name": str(name), "tools": list(tools)} if name and all(isinstance(tool, dict) for tool in tools):
            description = str(namespace.get("description") or "")
            for index, tool in enumerate(tools):
                parts = (description if index == 0 else "", str(tool.get("description") or ""))
                yield {**tool, "description": "\n\n".join(filter(None, parts))}
            return
    raise MalformedError("a namespace needs a name and a list of tools", param="tools")


def _flat_name(function: FunctionName, taken: Container[str]) -> str:
    if not function.namespace:
        return function.name
    joined = f"{function.namespace}{SEPARATOR}{function.name}"
    if len(joined) <= TOOL_NAME_LENGTH_MAX and joined not in taken:
        return joined
    # The digest is that of both names, so that a name is the same in each turn of a conversation.
    digest = hashlib.sha256(f"{function.namespace}\0{function.name}".encode()).hexdigest()[:DIGEST_LENGTH]
    return f"{joined[: TOOL_NAME_LENGTH_MAX - DIGEST_LENGTH - 1]}_{digest}"
