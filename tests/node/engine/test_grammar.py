"""Answers that fit a schema: whichever allowed tokens are drawn, what ends by the end token is JSON that fits."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import make_tokenizer
from tokenizers import Tokenizer as FileTokenizer
from tokenizers import decoders, models, normalizers

from openledger_node.engine.answer import AnswerSetup
from openledger_node.engine.closed_schema import closed
from openledger_node.engine.frames import Submit
from openledger_node.engine.grammar import Grammar, Grammars, open_grammars
from openledger_node.engine.tokenizer import BaseTokenizer, ByteTokenizer
from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import SamplingParams

END = ByteTokenizer.end_id
FAKE = open_grammars(None, END + 1)
PERSON = {
    "type": "object",
    "properties": {
        "reason": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 3, "maximum": 120},
        "kind": {"enum": ["cat", "dog", None]},
    },
    "required": ["reason", "age", "kind"],
    "additionalProperties": False,
}


def ids_of(grammar: Grammar) -> list[int]:
    mask = grammar.allowed()
    return [int(each) for each in np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))]


def start(schema: Any, grammars: Grammars = FAKE) -> Grammar:
    return grammars.start(json.dumps(schema))


def pushed(schema: Any, text: str) -> Grammar:
    grammar = start(schema)
    for byte in text.encode():
        assert byte in ids_of(grammar), f"{chr(byte)!r} of {text!r} is not allowed"
        grammar.push(byte)
    return grammar


@given(st.integers(0, 2**32))
def test_whatever_is_drawn_fits_the_schema(seed: int) -> None:
    grammar, drawn, answer = start(PERSON), random.Random(seed), bytearray()
    while (token := drawn.choice(ids_of(grammar))) != END:
        answer.append(token)
        grammar.push(token)
    person = json.loads(answer.decode())
    assert list(person) == ["reason", "age", "kind"], "in the order of the schema"
    assert len(person["reason"]) <= 8
    assert 3 <= person["age"] <= 120
    assert person["kind"] in ("cat", "dog", None)


def test_at_most_one_space_stands_between_parts() -> None:
    assert ord(" ") in ids_of(pushed(PERSON, "{"))
    assert ord(" ") not in ids_of(pushed(PERSON, "{ "))
    assert ord("\n") not in ids_of(pushed(PERSON, "{"))


@pytest.mark.parametrize(
    ("schema", "refusal"),
    [
        ({"not": {"type": "string"}}, '"not"'),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf may overlap: write anyOf"),
        ({"$ref": "http://example.com/x"}, "does not fetch"),
        ({"type": "thing"}, "thing"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "Unsatisfiable"),
    ],
)
def test_what_a_schema_has_that_is_not_supported_is_named(schema: Any, refusal: str) -> None:
    with pytest.raises(MalformedError, match="json_schema is not supported") as refused:
        start(schema)
    assert refusal in refused.value.message
    assert "\n" not in refused.value.message


def test_a_schema_that_is_too_much_work_ends_its_own_answer() -> None:
    deep: Any = {}
    for _ in range(200):
        deep = {"type": "array", "items": deep}
    with pytest.raises(MalformedError, match="recursion"):
        start(deep)
    grammar = start({"type": "string", "pattern": "^((a{1,1000}){1,1000}){1,1000}$"})

    def write_all() -> None:
        for byte in b'"' + b"a" * 50:
            grammar.push(byte)
            grammar.allowed()

    with pytest.raises(MalformedError, match="can't continue within its schema"):
        write_all()


def test_a_token_that_was_not_allowed_ends_its_answer() -> None:
    grammar = start(PERSON)
    grammar.push(ord("x"))
    with pytest.raises(MalformedError, match="can't continue within its schema"):
        grammar.allowed()


def test_a_base_without_an_end_token_serves_no_schema(tmp_path: Path) -> None:
    make_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text('{"eos_token_id": null}')
    with pytest.raises(MalformedError, match="no token that ends an answer"):
        start({}, open_grammars(tmp_path, 512))


# ---- schemas that say nothing of additional names

LISTED: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}}
OTHER = {"type": "object", "properties": {"b": {}}}
NAMED = {"$defs": {"A": LISTED}, "$ref": "#/$defs/A"}


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        (LISTED, '{"a":1}', True),
        (LISTED, '{"a":1,"b"', False),
        ({**LISTED, "additionalProperties": True}, '{"a":1,"b":2}', True),
        ({**LISTED, "additionalProperties": {"type": "string"}}, '{"b":"x"}', True),
        ({"type": "object"}, '{"b":1}', True),
        ({"type": "object", "properties": {}}, '{"', False),
        ({**LISTED, "patternProperties": {"^x": {}}}, '{"a":1,"x2":3}', True),
        ({**LISTED, "patternProperties": {"^x": {}}}, '{"a":1,"y', False),
        ({**LISTED, "required": ["a", "z"]}, '{"a":1,"z":2}', True),
        ({"type": "array", "items": LISTED}, '[{"b', False),
        ({"type": "array", "prefixItems": [OTHER, {"type": "array", "items": LISTED}]}, '[{"b":1},[{"b', False),
        ({"anyOf": [LISTED, OTHER]}, '{"c', False),
        ({"allOf": [LISTED, OTHER]}, '{"a":1,"b":2}', True),
        ({**NAMED, "anyOf": [OTHER]}, '{"a":1,"b":2}', True),
        ({"anyOf": [LISTED], "oneOf": [OTHER]}, '{"a":1,"b":2}', True),
        (NAMED, '{"a":1,"b"', False),
        ({"type": "object", "properties": {"properties": {"type": "integer"}}}, '{"properties":1}', True),
    ],
)
def test_an_object_has_its_listed_names_unless_it_allows_others(
    schema: dict[str, Any], text: str, expected: bool
) -> None:
    assert all(map(start(schema).push, text.encode())) is expected


def test_values_stay_as_they_are_and_keys_keep_their_order() -> None:
    schema = {"properties": {"z": {"default": LISTED, "enum": [LISTED]}, "a": True}, "required": ["z"]}
    found = closed(schema)
    assert found == {**schema, "additionalProperties": False}
    assert list(found["properties"]) == ["z", "a"]
    assert "additionalProperties" not in schema


@pytest.mark.parametrize(
    "schema", [True, {"properties": 5}, {"properties": {}, "required": 5}, {"anyOf": 5}, {"items": 3}]
)
def test_a_schema_that_is_wrong_is_left_to_the_parser(schema: Any) -> None:
    assert closed(schema) == schema


# ---- answers that another node has begun


@pytest.fixture(scope="module")
def spaced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose tokenizer puts a space before each text, as Llama 2's does."""
    letters = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *'▁{}":ab01', "▁{", "<tool_call>"]
    vocab = {letter: number for number, letter in enumerate(letters)}
    tokenizer = FileTokenizer(models.BPE(vocab=vocab, merges=[("▁", "{")], unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(  # type: ignore[assignment]
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(  # type: ignore[assignment]
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["</s>", "<tool_call>"])
    folder = tmp_path_factory.mktemp("spaced")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"eos_token_id": 1}))
    return folder


def resumed(folder: Path, prefix: str, **changes: Any) -> Grammar:
    file = FileTokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer, grammars = BaseTokenizer(file, None, {}), open_grammars(folder, file.get_vocab_size())
    ids = tokenizer.encode(prefix)
    command = Submit(
        sequence_id="s",
        prompt_ids=(5, *ids),
        num_prefix=len(ids),
        sampling=SamplingParams(max_tokens=9, seed=0, json_schema='{"type":"object"}'),
        adapter=None,
        **changes,
    )
    grammar = AnswerSetup(tokenizer=tokenizer, grammars=grammars, end_ids=(1,)).live(command).grammar
    assert grammar
    return grammar


def test_an_answer_is_resumed_although_its_tokenizer_puts_a_space_before_texts(spaced: Path) -> None:
    grammar = resumed(spaced, '{"a"')
    file = FileTokenizer.from_file(str(spaced / "tokenizer.json"))
    assert file.encode('{"a"').tokens[0] == "▁{"
    called = resumed(spaced, '<tool_call>{"a"', grammar="start: <[268]> %json {}")
    for each in (grammar, called):
        assert file.token_to_id(":") in ids_of(each)


@pytest.mark.parametrize("prefix", ["a", "}", '{"a" {', '{"a" b'])
def test_a_beginning_that_does_not_fit_is_refused_before_its_prompt_is_computed(spaced: Path, prefix: str) -> None:
    with pytest.raises(MalformedError, match="the beginning of the answer does not fit its schema"):
        resumed(spaced, prefix)
