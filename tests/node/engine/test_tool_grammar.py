"""Grammars of forced calls: whatever allowed tokens are drawn, what ends is read as calls that fit their schemas."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from node.engine.chat_templates import OTHERS, TEMPLATES
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from openledger_node.engine.grammar import Grammar, Grammars, open_grammars
from openledger_node.engine.tokenizer import BaseTokenizer, open_tokenizer
from openledger_node.engine.tool_formats import FAMILIES, MARKERS
from openledger_node.engine.tool_grammar import CALLS_MAX, grammar_of
from openledger_node.serving.answer_parts import (
    AnswerParts,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallArguments,
    ToolCallStart,
    answer_format,
)
from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import InferenceRequest, Message, SamplingParams, TokenChunk, Tool, Tooling
from openledger_protocol.primitives import ZERO_DIGEST, RequestId

END = "<end>"
ALARM = {
    "properties": {
        "label": {"type": "string", "maxLength": 5},
        "hour": {"type": "integer", "minimum": 0, "maximum": 23},
    },
    "required": ["label", "hour"],
    "additionalProperties": False,
}
TOOLS = (
    Tool(name="set_alarm", description="", parameters=json.dumps(ALARM)),
    Tool(name="stop", description="", parameters='{"type":"object","additionalProperties":false}'),
)
REQUIRED = Tooling(tools=TOOLS, choice="required")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte tokenizer in which each marker is a token, special as in some bases or not as in others."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    tokenizer.add_special_tokens([AddedToken(END, special=True)])
    for number, marker in enumerate(sorted(MARKERS)):
        tokenizer.add_tokens([AddedToken(marker, special=number % 2 == 0)])
    made = tmp_path_factory.mktemp("bytes")
    tokenizer.save(str(made / "tokenizer.json"))
    (made / "config.json").write_text(json.dumps({"eos_token_id": tokenizer.token_to_id(END)}))
    return made


@pytest.fixture(scope="module")
def grammars(folder: Path) -> Grammars:
    return open_grammars(folder, Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size())


def tokenizer_of(folder: Path, name: str) -> BaseTokenizer:
    file = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return BaseTokenizer(file, {**TEMPLATES, **OTHERS}[name], {})


def constrain(grammars: Grammars, request: InferenceRequest, tokenizer: BaseTokenizer) -> Grammar:
    return grammars.start_lark(grammar_of(request, tokenizer.style, tokenizer.added_id))


def request_of(tooling: Tooling | None, json_schema: str | None = None) -> InferenceRequest:
    return InferenceRequest(
        request_id=RequestId(ZERO_DIGEST),
        model="fake",
        prompt=(Message(role="user", content="Wake me."),),
        sampling=SamplingParams(max_tokens=900, seed=0, json_schema=json_schema),
        tooling=tooling,
    )


def ids_of(grammar: Grammar) -> list[int]:
    mask = grammar.allowed()
    return [int(each) for each in np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))]


def draw(grammar: Grammar, tokenizer: BaseTokenizer, seed: int, *, haste: str = END) -> str:
    """Draw allowed tokens up to the end token; the token `haste` is taken wherever it may be."""
    drawn, decoder, text = random.Random(seed), tokenizer.decoder(), ""
    end, hasty = tokenizer.added_id(END), tokenizer.added_id(haste)
    for _ in range(4_000):
        allowed = ids_of(grammar)
        token = hasty if haste != END and hasty in allowed else drawn.choice(allowed)
        if token == end:
            return text
        grammar.push(token)
        text += decoder.push(token)
    raise AssertionError(f"it does not end: {text[-100:]}")


def parts_of(text: str, request: InferenceRequest, tokenizer: BaseTokenizer) -> list[Part]:
    reader = AnswerParts(answer_format(tokenizer.style, request), call_id=lambda: "")
    return [*reader.push(TokenChunk(text=text, ids=())), *reader.end()]


@pytest.mark.parametrize("family", [family.name for family in FAMILIES])
@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_drawn_is_read_as_calls_that_fit(
    folder: Path, grammars: Grammars, family: str, seed: int
) -> None:
    tooling = REQUIRED
    if family == "qwen-coder":  # its texts end only where the model writes their closing tag
        alarm = replace(
            TOOLS[0], parameters=TOOLS[0].parameters.replace('"maxLength": 5', '"enum": ["tea", "<run>"]')
        )
        tooling = replace(REQUIRED, tools=(alarm, TOOLS[1]))
    tokenizer, request = tokenizer_of(folder, family), request_of(tooling)
    grammar = constrain(grammars, request, tokenizer)
    parts = parts_of(draw(grammar, tokenizer, seed), request, tokenizer)
    starts, arguments = parts[::2], parts[1::2]
    assert 1 <= len(starts) <= (CALLS_MAX if tokenizer.style.is_parallel else 1)
    for start, given in zip(starts, arguments, strict=True):
        assert isinstance(start, ToolCallStart)
        assert isinstance(given, ToolCallArguments)
        found = json.loads(given.text)
        if start.name == "stop":
            assert found == {}
        else:
            assert list(found) == ["label", "hour"]
            assert 0 <= found["hour"] <= 23


@pytest.mark.parametrize("name", ["reasoning", "opened reasoning"])
def test_a_base_that_reasons_may_reason_before_it_calls(folder: Path, grammars: Grammars, name: str) -> None:
    tokenizer, request = tokenizer_of(folder, name), request_of(replace(REQUIRED, name="stop", parallel=False))
    grammar = constrain(grammars, request, tokenizer)
    opened = "" if tokenizer.style.starts_reasoning else "<think>"
    for token in tokenizer.encode(f"{opened}Hm </think>\n\n<tool_call>"):
        assert token in ids_of(grammar)
        grammar.push(token)
    text = f"{opened}Hm </think>\n\n<tool_call>" + draw(grammar, tokenizer, 1)
    first, *_ = parts_of(text, request, tokenizer)
    assert first == ReasoningPart("Hm")


def test_a_schema_beside_tools_allows_calls_or_json(folder: Path, grammars: Grammars) -> None:
    tokenizer = tokenizer_of(folder, "hermes")
    request = request_of(Tooling(tools=TOOLS), '{"type":"object","maxProperties":0}')
    first = ids_of(constrain(grammars, request, tokenizer))
    assert set(first) == {tokenizer.added_id("<tool_call>"), *tokenizer.encode("{")}


def test_a_schema_follows_the_reasoning_that_the_prompt_has_begun(folder: Path, grammars: Grammars) -> None:
    tokenizer = tokenizer_of(folder, "opened reasoning")
    request = request_of(None, '{"type":"object","maxProperties":0}')
    grammar = constrain(grammars, request, tokenizer)
    text = draw(grammar, tokenizer, 1, haste="</think>")
    *_, answer = parts_of(text, request, tokenizer)
    assert isinstance(answer, TextPart)
    assert json.loads(answer.text) == {}


@pytest.mark.parametrize("tooling", [None, Tooling(tools=TOOLS), Tooling(tools=TOOLS, choice="none")])
def test_an_answer_that_is_free_has_no_grammar(folder: Path, tooling: Tooling | None) -> None:
    tokenizer = tokenizer_of(folder, "reasoning")
    assert grammar_of(request_of(tooling), tokenizer.style, tokenizer.added_id) == ""
    assert grammar_of(replace(request_of(REQUIRED), prompt="Once"), tokenizer.style, tokenizer.added_id) == ""


@pytest.mark.parametrize(
    ("family", "schema", "refusal"),
    [
        ("hermes", {"properties": {"a": {"type": "string", "pattern": "(?=a)b"}}}, "look-around"),
        ("hermes", {"properties": []}, ""),
        ("qwen-coder", {"properties": {"a": {}}, "required": True}, "required must be a list"),
        ("qwen-coder", {"properties": {"a": {"enum": 5}}}, "enum must be a list"),
        ("qwen-coder", {"properties": []}, "properties must be an object"),
    ],
)
def test_a_schema_of_a_tool_that_is_not_supported_is_refused_by_its_tool(
    folder: Path, grammars: Grammars, family: str, schema: dict[str, object], refusal: str
) -> None:
    tokenizer, tool = tokenizer_of(folder, family), replace(TOOLS[0], parameters=json.dumps(schema))
    with pytest.raises(MalformedError, match=r"^the schema of tools\[1\] is not supported: ") as refused:
        constrain(grammars, request_of(replace(REQUIRED, tools=(TOOLS[1], tool))), tokenizer)
    assert refusal in refused.value.message
    assert "start:" not in refused.value.message


def test_markers_are_text_although_they_are_special_tokens(folder: Path) -> None:
    tokenizer = open_tokenizer(folder)
    text = "é[TOOL_CALLS][ARGS]{}<think>so</think><tool_call>"
    decoder = tokenizer.decoder()
    ids = tokenizer.encode(text)
    assert "".join(decoder.push(token) for token in ids) == text
    assert len(ids) == 2 + 5 + 2 + 2, "each marker is one token, so that what is billed is what was generated"
