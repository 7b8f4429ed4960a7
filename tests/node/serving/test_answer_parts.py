"""An answer's parts: each family's calls, reasoning, and text that only looks like either."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openledger_node.engine.chat_template import ChatStyle
from openledger_node.engine.tool_formats import FAMILIES, CallFamily, write_calls
from openledger_node.serving.answer_parts import (
    AnswerFormat,
    AnswerParts,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallArguments,
    ToolCallStart,
    answer_format,
)
from openledger_protocol.constants import ARGUMENTS_DEPTH_MAX
from openledger_protocol.inference import (
    InferenceRequest,
    Message,
    SamplingParams,
    TokenChunk,
    Tool,
    ToolCall,
    Tooling,
    check_messages,
)
from openledger_protocol.primitives import ZERO_DIGEST, RequestId

TOOLS = (
    Tool(
        name="get_weather",
        description="",
        parameters=json.dumps(
            {"type": "object", "properties": {"town": {"type": "string"}, "days": {"type": "integer"}}}
        ),
    ),
    Tool(name="get_time", description="", parameters='{"type":"object"}'),
)
BY_NAME = {family.name: family for family in FAMILIES}
WEATHER = '{"town": "Turku"}'


def read(pieces: Sequence[str], family: str = "hermes", **changes: Any) -> list[Part]:
    """All parts of an answer that comes in these pieces."""
    style = ChatStyle(family=BY_NAME[family], **{"can_reason": False, **changes})
    reader = AnswerParts(
        AnswerFormat(style=style, tools=TOOLS, has_reasoning=style.can_reason),
        call_id=(f"call_{number}" for number in count()).__next__,
    )
    parts = [part for piece in pieces for part in reader.push(TokenChunk(text=piece, ids=()))]
    parts += reader.end()
    assert reader.has_tool_calls == any(isinstance(part, ToolCallStart) for part in parts)
    return joined(parts)


def joined(parts: Sequence[Part]) -> list[Part]:
    """The parts with neighbours of one kind joined."""
    merged: list[Part] = []
    for part in parts:
        match merged[-1] if merged else None, part:
            case TextPart(before), TextPart(after):
                merged[-1] = TextPart(before + after)
            case ReasoningPart(before), ReasoningPart(after):
                merged[-1] = ReasoningPart(before + after)
            case ToolCallArguments(index, before), ToolCallArguments(same, after) if index == same:
                merged[-1] = ToolCallArguments(index, before + after)
            case _:
                merged.append(part)
    return merged


def call(index: int, name: str, arguments: str) -> list[Part]:
    return [ToolCallStart(index, f"call_{index}", name), ToolCallArguments(index, arguments)]


TWO = [*call(0, "get_weather", WEATHER), *call(1, "get_time", "{}")]
ANSWERS: dict[str, tuple[str, str, list[Part]]] = {
    "hermes": (
        "hermes",
        'I look.\n<tool_call>\n{"name": "get_weather", "arguments": {"town": "Turku"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>\n',
        [TextPart("I look."), *TWO],
    ),
    "hermes without a closing": (
        "hermes",
        '<tool_call>{"name": "get_weather", "arguments": {"town": "Turku"}}',
        TWO[:2],
    ),
    "arguments before the name": (
        "hermes",
        '<tool_call>{"arguments": {"town": "Turku"}, "name": "get_weather"}</tool_call>',
        TWO[:2],
    ),
    "arguments as a text": (
        "hermes",
        '<tool_call>{"name": "get_weather", "arguments": "{\\"town\\": \\"Turku\\"}"}</tool_call>',
        TWO[:2],
    ),
    "no arguments": ("hermes", '<tool_call>{"name": "get_time"}</tool_call>', call(0, "get_time", "{}")),
    "other keys": (
        "hermes",
        '<tool_call>{"type": ["f", 1.5e3, null], "name": "get_time", "arguments": {}, "id": "7"}</tool_call>, so',
        [*call(0, "get_time", "{}"), TextPart(", so")],
    ),
    "qwen-coder": (
        "qwen-coder",
        "I look.\n<tool_call>\n<function=get_weather>\n<parameter=town>\nTurku <b>\n\n</parameter>\n"
        "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>\n"
        "<tool_call>\n<function=get_time>\n</function>\n</tool_call>",
        [
            TextPart("I look."),
            *call(0, "get_weather", '{"town": "Turku <b>\\n", "days": 3}'),
            *call(1, "get_time", "{}"),
        ],
    ),
    "mistral": (
        "mistral",
        '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"town": "Turku"}, "id": "abcdefghi"}, '
        '{"name": "get_time", "arguments": {}}]',
        TWO,
    ),
    "mistral-args": (
        "mistral-args",
        '[TOOL_CALLS]get_weather[CALL_ID]abcdefghi[ARGS]{"town": "Turku"}[TOOL_CALLS]get_time[ARGS]{}',
        TWO,
    ),
    "mistral-named": ("mistral-named", '[TOOL_CALLS]get_weather{"town": "Turku"}[TOOL_CALLS]get_time{}', TWO),
    "phi": (
        "phi",
        '<|tool_call|>{"name": "get_weather", "arguments": {"town": "Turku"}}<|/tool_call|>'
        '<|tool_call|>{"name": "get_time", "arguments": {}}<|/tool_call|>',
        TWO,
    ),
    "phi-list": (
        "phi-list",
        '<|tool_call|>[{"name": "get_weather", "arguments": {"town": "Turku"}}, '
        '{"name": "get_time", "arguments": {}}]<|/tool_call|> done',
        [*TWO, TextPart("done")],
    ),
    "llama": ("llama", ' {"name": "get_weather", "parameters": {"town": "Turku"}}', TWO[:2]),
    "llama, several": (
        "llama",
        '{"name": "get_weather", "parameters": {"town": "Turku"}}; {"name": "get_time", "parameters": {}}',
        TWO,
    ),
    "llama with its tag": (
        "llama",
        'I look. <|python_tag|>{"name": "get_weather", "parameters": {"town": "Turku"}}',
        [TextPart("I look."), *TWO[:2]],
    ),
}


def test_every_family_is_among_the_answers() -> None:
    assert {family for family, _, _ in ANSWERS.values()} == BY_NAME.keys()


@pytest.mark.parametrize("name", ANSWERS)
def test_calls_are_read_however_the_answer_is_cut(name: str) -> None:
    family, text, expected = ANSWERS[name]
    assert read([text], family) == expected
    assert read(list(text), family) == expected
    for place in range(len(text)):
        assert read([text[:place], text[place:]], family) == expected


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("hermes", '<tool_call>{"name": "launch", "arguments": {}}</tool_call>'),
        ("hermes", "<tool_call>soon</tool_call>"),
        ("hermes", '<tool_call>{"name": "get_weather", "arguments": '),
        ("hermes", '<tool_call>{"name": "get_weather", "arguments": [1]}</tool_call>'),
        ("hermes", '<tool_call>{"name": 7}</tool_call> and 1 < 2'),
        ("hermes", "a <tool_cal"),
        ("hermes", "  two  spaces  \n"),
        ("qwen-coder", "<tool_call><function=launch></function></tool_call>"),
        ("qwen-coder", "<tool_call><functions>"),
        ("mistral", "[TOOL_CALLS] []"),
        ("mistral-named", "[TOOL_CALLS]get_weather now {}"),
        ("llama", '{"name": "Bob", "parameters": {}}'),
        ("llama", '<|python_tag|>brave_search.call(query="x")'),
        ("llama", '1 {"name": "get_time", "parameters": {}}'),
        ("phi", "<|tool_call|><|/tool_call|>"),
    ],
)
def test_text_that_only_looks_like_a_call_is_text(family: str, text: str) -> None:
    assert read([text], family) == [TextPart(text)]
    assert read(list(text), family) == [TextPart(text)]


def test_a_call_after_one_that_was_none_is_read() -> None:
    text = '<tool_call>oops <tool_call>{"name": "get_time", "arguments": {}}</tool_call>'
    assert read(list(text)) == [TextPart("<tool_call>oops"), *call(0, "get_time", "{}")]


def test_a_calls_name_comes_before_its_arguments_end_and_each_piece_as_it_comes() -> None:
    reader = AnswerParts(AnswerFormat(style=ChatStyle(), tools=TOOLS), call_id=lambda: "call_0")

    def push(text: str) -> list[Part]:
        return reader.push(TokenChunk(text=text, ids=()))

    assert push('<tool_call>{"name": "get_weather", "arg') == []
    assert push('uments": {"to') == [ToolCallStart(0, "call_0", "get_weather"), ToolCallArguments(0, '{"to')]
    assert push('wn": "Tur') == [ToolCallArguments(0, 'wn": "Tur')]
    assert push('ku"}}</tool') == [ToolCallArguments(0, 'ku"}')]
    assert push("_call>") == [] == reader.end()


@pytest.mark.parametrize(
    ("text", "arguments", "after"),
    [
        ('{"name": "get_weather", "arguments": {"town": Turku}}</tool_call> so', '{"town": Turku}}', " so"),
        ('{"name": "get_weather", "arguments": {"town": "Tur', '{"town": "Tur', ""),
        ('{"name": "get_weather", "arguments": {"town": "Tur\n"}}', '{"town": "Tur\n"}}', ""),
    ],
)
def test_arguments_that_went_wrong_are_passed_on_as_they_are(text: str, arguments: str, after: str) -> None:
    expected = [*call(0, "get_weather", arguments), *([TextPart(after.strip())] if after else [])]
    assert read(list(f"<tool_call>{text}")) == expected == read([f"<tool_call>{text}"])


@pytest.mark.parametrize("held", ["[" * 5_000, r"{\"town\": \"\ud83d\"}", r"{\"town\": NaN}"])
def test_arguments_in_a_string_that_are_no_json_are_text(held: str) -> None:
    text = f'<tool_call>{{"name": "get_weather", "arguments": "{held}"}}</tool_call>'
    assert read([text]) == [TextPart(text)] == read(list(text))


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "[" * 5_000])
def test_a_parameter_that_is_no_json_is_a_text(value: str) -> None:
    text = f"<function=get_weather>\n<parameter=days>\n{value}\n</parameter>\n</function>\n</tool_call>"
    assert read([f"<tool_call>\n{text}"], "qwen-coder") == call(0, "get_weather", f'{{"days": "{value}"}}')


# ── reasoning ─────────────────────────────────────────────────────────────────────────────────────────────────────

THOUGHT: dict[str, tuple[str, bool, list[Part]]] = {
    "in tags": ("<think>\nHm.\n\n</think>\n\nYes.", False, [ReasoningPart("Hm."), TextPart("Yes.")]),
    "opened by the prompt": ("\nHm. a < b </think>Yes.", True, [ReasoningPart("Hm. a < b"), TextPart("Yes.")]),
    "empty": ("<think>\n\n</think>\n\nYes.", False, [TextPart("Yes.")]),
    "none": ("Yes <think>.", False, [TextPart("Yes <think>.")]),
    "not ended": ("<think>Hm </thin", False, [ReasoningPart("Hm </thin")]),
    "opened only": ("<thi", False, [TextPart("<thi")]),
    "before a call": (
        '<think>Hm.</think>\n\n<tool_call>{"name": "get_time", "arguments": {}}</tool_call>',
        False,
        [ReasoningPart("Hm."), *call(0, "get_time", "{}")],
    ),
    "about a call": ("<think><tool_call>?</think>", False, [ReasoningPart("<tool_call>?")]),
}


@pytest.mark.parametrize("name", THOUGHT)
def test_reasoning_is_told_apart_however_the_answer_is_cut(name: str) -> None:
    text, starts, expected = THOUGHT[name]
    for pieces in ([text], list(text)):
        assert read(pieces, can_reason=True, starts_reasoning=starts) == expected


def test_a_base_that_does_not_reason_may_write_the_tags() -> None:
    assert read(["<think>a</think>b"]) == [TextPart("<think>a</think>b")]


# ── any text, cut anywhere ────────────────────────────────────────────────────────────────────────────────────────

TAGS = sorted(
    {tag for family in FAMILIES for tag in (family.opening, family.closing) if tag} | {"<think>", "</think>"}
)
SNIPPETS = [*TAGS, '{"name": "get_time", "arguments": {}}', '{"name": "get_', '", "arguments": ', *'{}[],; \n"\\é🙂']
SNIPPETS += ["<function=get_time>", "</function>", "<parameter=a>", "</parameter>"]
texts = st.lists(st.one_of(st.sampled_from(SNIPPETS), st.text(max_size=3)), max_size=12).map("".join)


@given(texts, st.sampled_from(sorted(BY_NAME)), st.booleans(), st.data())
@example("\n" * 300 + '{"name": "get_time", "parameters": {}}', "llama", False, None)
def test_parts_do_not_depend_on_how_an_answer_is_cut(text: str, family: str, starts: bool, data: Any) -> None:
    whole = read([text], family, can_reason=True, starts_reasoning=starts)
    assert read(list(text), family, can_reason=True, starts_reasoning=starts) == whole
    if data:
        places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
        pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
        assert read(pieces, family, can_reason=True, starts_reasoning=starts) == whole


@given(texts, st.sampled_from(sorted(BY_NAME)))
def test_without_calls_and_reasoning_no_text_is_lost(text: str, family: str) -> None:
    parts = read([text], family)
    if not any(isinstance(part, ToolCallStart) for part in parts):
        assert "".join(part.text for part in parts if isinstance(part, TextPart)) == text


arguments = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=9,
)
written = [family for family in FAMILIES if family.body != "xml"]


@given(
    st.lists(st.dictionaries(st.text(max_size=5), arguments, max_size=3), min_size=1, max_size=3),
    st.sampled_from(written),
    st.booleans(),
)
def test_what_is_written_as_a_call_is_read_as_one(
    given_arguments: list[Any], family: CallFamily, is_ascii: bool
) -> None:
    calls = [
        ToolCall(id="x", name="get_time", arguments=json.dumps(each, ensure_ascii=is_ascii))
        for each in given_arguments
    ]
    text = write_calls(family, calls)
    expected = [part for number, each in enumerate(calls) for part in call(number, "get_time", each.arguments)]
    assert read(list(text), family.name) == expected == read([text], family.name)


# ── sizes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("hermes", '<tool_call>{"a":"' * 4_000 + "\n"),
        ("hermes", '<tool_call>{"name": "get_time", "arguments": ' + '{"a":' * 40_000),
        ("hermes", "<tool_call>{" * 6_000),
        ("hermes", " " * 40_000 + "<tool_call>"),
        ("llama", "\n" * 40_000 + "{"),
        ("mistral-named", "[TOOL_CALLS]" + "x" * 60_000),
        ("qwen-coder", "<tool_call><function=get_time>" + "<parameter=a>\n" * 4_000),
    ],
    ids=lambda word: ascii(word[:30]),
)
def test_a_hostile_answer_is_read_in_time_that_grows_with_its_length(family: str, text: str) -> None:
    length = sum(len(part.text) for part in read([text], family) if not isinstance(part, ToolCallStart))
    assert length >= len(text) - 400


def test_more_calls_than_a_request_may_have_tools_are_text() -> None:
    text = '<tool_call>{"name": "get_time", "arguments": {}}</tool_call>' * 130
    parts = read([text])
    assert sum(isinstance(part, ToolCallStart) for part in parts) == 128
    assert isinstance(parts[-1], TextPart)


# ── the format of a request's answer ──────────────────────────────────────────────────────────────────────────────

REQUEST = InferenceRequest(
    request_id=RequestId(ZERO_DIGEST),
    model="fake",
    prompt=(Message(role="user", content="Hi"),),
    sampling=SamplingParams(max_tokens=9, seed=0),
    tooling=Tooling(tools=TOOLS),
)


@pytest.mark.parametrize(
    ("changes", "has_tools", "has_reasoning"),
    [
        ({}, True, True),
        ({"tooling": None}, False, True),
        ({"tooling": Tooling(tools=TOOLS, choice="none")}, False, True),
        ({"prompt": "Once", "tooling": None}, False, False),
    ],
)
def test_only_what_a_request_offers_is_read(changes: dict[str, Any], has_tools: bool, has_reasoning: bool) -> None:
    found = answer_format(ChatStyle(can_reason=True), replace(REQUEST, **changes))
    assert (bool(found.tools), found.has_reasoning) == (has_tools, has_reasoning)
    assert found.is_plain == (not has_tools and not has_reasoning)


def test_an_answer_with_a_schema_may_come_without_the_reasoning_that_was_begun_for_it() -> None:
    style = ChatStyle(can_reason=True, starts_reasoning=True)
    for text, expected in (('{"a": 1}', TextPart('{"a": 1}')), ("Hm", ReasoningPart("Hm"))):
        reader = AnswerParts(AnswerFormat(style=style, has_reasoning=True, is_json=True), call_id=lambda: "")
        assert [*reader.push(TokenChunk(text=text, ids=())), *reader.end()] == [expected]


@pytest.mark.parametrize("levels", [33, ARGUMENTS_DEPTH_MAX])
def test_arguments_that_are_read_can_be_sent_back(levels: int) -> None:
    arguments = '{"town":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"
    found = read([f'<tool_call>{{"name": "get_weather", "arguments": {arguments}}}</tool_call>'])
    assert found == call(0, "get_weather", arguments)
    sent_back = ToolCall(id="call_0", name="get_weather", arguments=arguments)
    check_messages((Message(role="assistant", content="", tool_calls=(sent_back,)),))
