"""Reads the calls of one section of an answer, character by character."""

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from openledger_protocol.constants import TOOLS_MAX
from openledger_protocol.inference import Tool

from ..engine.tool_formats import CallFamily
from .json_scan import SPACE, JsonValue

HELD_MAX: Final = 64 * 1024
"""The longest text that is held back because it may be a call; a longer one is text."""

ARGUMENT_KEYS: Final = ("arguments", "parameters")

Reading = Generator[None, str, str]
"""Takes characters, and returns the one after what it has read; empty if it needed none."""


@dataclass(slots=True)
class CallEvent:
    """A call begins, if it has a name, or more of its arguments have come."""

    name: str = ""
    pieces: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> str:
        """The arguments that have come."""
        return "".join(self.pieces)


@dataclass(slots=True)
class ReadCalls:
    """The calls in a piece of the section's text."""

    events: list[CallEvent] = field(default_factory=list)
    rest: str = ""  # behind the section
    is_over: bool = False


class NotACallError(Exception):
    """The section's text is no call after all."""

    def __init__(self, read: ReadCalls, raw: str, rest: str) -> None:
        super().__init__("not a call")
        self.read = read  # calls before it, in the same section
        self.raw = raw  # its text so far, with its opening
        self.rest = rest


class _NoCallError(Exception):
    """No call continues with this character."""


class CallReader:
    """Reads from behind an opening to the end of the section, which is one call, or a list of them."""

    def __init__(self, family: CallFamily, tools: Sequence[Tool], raw: str, *, num_before: int) -> None:
        self._family = family
        self._tools = {tool.name: tool for tool in tools}
        self._raw = [raw]  # read, and neither passed on nor part of a call that has ended
        self._raw_length = len(raw)
        self._num_calls = num_before
        self._is_begun = False  # a call's name was passed on, and its arguments have not ended
        self._is_broken = False  # arguments went wrong: they are passed on as they are, up to the closing
        self._needs_closing = False  # nothing but the closing may follow
        self._events: list[CallEvent] = []
        self._reading = self._section()
        next(self._reading)

    def take(self, text: str, *, is_end: bool) -> ReadCalls:
        """Read more of the section.

        Raises:
            NotACallError: it is no call, or the answer ends before that is certain.
        """
        if self._is_broken:
            return self._take_broken(text, is_end=is_end)
        for place, char in enumerate(text):
            self._raw.append(char)
            self._raw_length += 1
            try:
                self._reading.send(char)
            except StopIteration as end:
                return self._told(rest=end.value + text[place + 1 :], is_over=True)
            except (_NoCallError, ValueError, RecursionError):
                if not self._is_begun:
                    raise self._no_call(text[place + 1 :]) from None
                self._is_broken = True
                return self._take_broken(text[place + 1 :], is_end=is_end)
            if self._raw_length > HELD_MAX and not self._is_begun:
                raise self._no_call(text[place + 1 :])
        return self._end_section() if is_end else self._told()

    def _end_section(self) -> ReadCalls:
        """End where the answer ends."""
        raw = "".join(self._raw)
        if self._is_begun:
            self._pass(raw)  # arguments that the model did not finish
        elif raw.strip() and not (self._needs_closing and self._family.closing.startswith(raw.strip())):
            raise self._no_call("")
        return self._told(is_over=True)

    def _take_broken(self, text: str, *, is_end: bool) -> ReadCalls:
        """Pass on broken arguments up to the section's closing, or to the end of the answer."""
        tail, closing = "".join([*self._raw, text]), self._family.closing
        place = tail.find(closing) if closing else -1
        if place >= 0:
            self._pass(tail[:place])
            return self._told(rest=tail[place + len(closing) :], is_over=True)
        held = 0 if is_end else _overlap(tail, closing)
        self._pass(tail[: len(tail) - held])
        self._raw = [tail[len(tail) - held :]]
        return self._told(is_over=is_end)

    def _told(self, *, rest: str = "", is_over: bool = False) -> ReadCalls:
        events, self._events = self._events, []
        return ReadCalls(events=events, rest=rest, is_over=is_over)

    def _no_call(self, rest: str) -> NotACallError:
        return NotACallError(self._told(), "".join(self._raw), rest)

    def _begin(self, name: str) -> None:
        """Pass on a call's name.

        Raises:
            _NoCallError: there is no such tool, or there are too many calls.
        """
        if name not in self._tools or self._num_calls >= TOOLS_MAX:
            raise _NoCallError
        self._num_calls += 1
        self._is_begun = True
        self._forget()
        self._events.append(CallEvent(name=name))

    def _pass(self, text: str) -> None:
        """Pass on a piece of the call's arguments."""
        if not self._events:
            self._events.append(CallEvent())
        self._events[-1].pieces.append(text)
        self._forget()

    def _forget(self) -> None:
        self._raw, self._raw_length = [], 0

    # ---- the forms of a section; each reading is primed, takes characters, and returns the one that follows

    def _section(self) -> Reading:
        read = {"object": self._one, "xml": self._one, "list": self._list, "bare": self._bare, "named": self._named}
        return (yield from read[self._family.body]())

    def _one(self) -> Reading:
        char = yield from _skip_space()
        yield from (self._xml(char) if self._family.body == "xml" else self._object(char))
        return (yield from self._closing())

    def _list(self) -> Reading:
        char = yield from _skip_space()
        if char != "[":
            yield from self._object(char)
            return (yield from self._closing())
        while True:
            yield from self._object((yield from _skip_space()))
            char = yield from _skip_space()
            if char == "]":
                self._forget()
                return (yield from self._closing()) if self._family.closing else ""
            if char != ",":
                raise _NoCallError

    def _bare(self) -> Reading:
        while True:
            yield from self._object((yield from _skip_space()))
            self._needs_closing = True
            char = yield from _skip_space()
            if char != ";":
                return char
            self._needs_closing = False

    def _named(self) -> Reading:
        name, split, char = "", "", (yield)
        while char not in "{[ \n":
            name += char
            char = yield
        while char != "{":
            split += char
            char = yield
        if split.strip() and not (self._family.split and split.rstrip().endswith(self._family.split)):
            raise _NoCallError
        self._begin(name)
        yield from self._arguments(char)
        return ""

    def _object(self, char: str) -> Generator[None, str, None]:
        """Read one object with a name and arguments, whose opening bracket is `char`."""
        if char != "{":
            raise _NoCallError
        name, held, is_told = "", "", False
        char = yield from _skip_space()
        while char != "}":
            if char != '"':
                raise _NoCallError
            key = yield from _text()
            if (yield from _skip_space()) != ":":
                raise _NoCallError
            char = yield from _skip_space()
            if key == "name" and char == '"' and not name:
                name = yield from _text()
                char = yield
            elif key in ARGUMENT_KEYS and char == "{" and name and not (is_told or held):
                self._begin(name)
                is_told = True
                yield from self._arguments(char)
                char = yield
            elif key in ARGUMENT_KEYS and not (is_told or held):
                value, char = yield from _value(char)
                held = _as_object(value)
            else:
                _, char = yield from _value(char)
            char = yield from self._next_key(char)
        if not is_told:
            self._begin(name)
            self._pass(held or "{}")
            self._is_begun = False
        self._forget()

    def _next_key(self, char: str) -> Reading:
        """Go on to the next key of an object, or to its end."""
        char = yield from _skip_space(char)
        if char == "}":
            return char
        if char != "," or (char := (yield from _skip_space())) == "}":
            raise _NoCallError
        return char

    def _arguments(self, char: str) -> Generator[None, str, None]:
        """Pass on one JSON object while it comes."""
        value = JsonValue()
        while True:
            value.feed(char)
            self._pass(char)
            if value.is_over:
                self._is_begun = False
                return
            char = yield

    def _closing(self) -> Reading:
        """Read the closing tag; a call that lacks it is a call all the same."""
        self._needs_closing = True
        char = yield from _skip_space()
        read = ""
        while self._family.closing.startswith(read + char):
            read += char
            if read == self._family.closing:
                return ""
            char = yield
        return read + char

    # ---- <function=NAME> <parameter=KEY> VALUE </parameter> … </function>

    def _xml(self, char: str) -> Generator[None, str, None]:
        yield from _either(char, "<function=")
        name = yield from _until(">")
        self._begin(name.strip())
        kinds = _kinds_of(self._tools[name.strip()])
        self._pass("{")
        separator = ""
        while True:
            char = yield from _skip_space()
            if (yield from _either(char, "<parameter=", "</function>")) == "</function>":
                break
            key = (yield from _until(">")).strip()
            value = yield from _until("</parameter>")
            value = value.removeprefix("\n").removesuffix("\n")
            self._pass(f"{separator}{json.dumps(key)}: {_typed(value, kinds.get(key))}")
            separator = ", "
        self._pass("}")
        self._is_begun = False


# ---- readings that hold nothing


def _skip_space(char: str = "") -> Reading:
    char = char or (yield)
    while char in SPACE:
        char = yield
    return char


def _value(char: str) -> Generator[None, str, tuple[str, str]]:
    """One JSON value and the character after it."""
    value, read = JsonValue(), ""
    while value.feed(char):
        read += char
        char = yield
        if value.is_over:
            return read, char
    return read, char


def _text() -> Generator[None, str, str]:
    """A string, from behind its opening quote."""
    value, read = JsonValue(), '"'
    value.feed('"')
    while not value.is_over:
        char = yield
        value.feed(char)
        read += char
    text = json.loads(read)
    assert isinstance(text, str)
    return text


def _until(end: str) -> Generator[None, str, str]:
    read: list[str] = []
    while True:
        read.append((yield))
        if read[-1] == end[-1] and "".join(read[-len(end) :]) == end:
            return "".join(read[: -len(end)])


def _either(char: str, *tags: str) -> Generator[None, str, str]:
    """The tag that stands here, whose first character is `char`.

    Raises:
        _NoCallError: none does.
    """
    read = char
    while read not in tags:
        if not any(tag.startswith(read) for tag in tags):
            raise _NoCallError
        read += yield
    return read


def _as_object(value: str) -> str:
    """Arguments as JSON text of an object: some models write them as a string.

    Raises:
        _NoCallError: they are none; or ValueError or RecursionError.
    """
    found = _loads(value)
    if isinstance(found, str):
        value, found = found, _loads(found)
        value.encode()  # half a surrogate pair, which no writer can encode: the call stays text
    if found is None:
        return "{}"
    if not isinstance(found, dict):
        raise _NoCallError
    return value


def _loads(text: str) -> Any:
    """Parse JSON; Python's own words NaN and Infinity are none."""
    return json.loads(text, parse_constant=_refuse_word)


def _refuse_word(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _kinds_of(tool: Tool) -> dict[str, Any]:
    """The type of each parameter, as its schema has it."""
    properties = json.loads(tool.parameters).get("properties")
    if not isinstance(properties, dict):
        return {}
    return {key: schema.get("type") for key, schema in properties.items() if isinstance(schema, dict)}


def _typed(value: str, kind: Any) -> str:
    """A parameter's JSON text: a text is quoted, and anything else is as the model wrote it, if that is JSON."""
    if kind != "string":
        try:
            _loads(value)
            return value.strip()
        except (ValueError, RecursionError):
            pass
    return json.dumps(value, ensure_ascii=False)


def _overlap(text: str, tag: str) -> int:
    """The length of the longest end of `text` that begins `tag`."""
    return next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:size])), 0)
