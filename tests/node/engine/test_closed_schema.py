"""Schemas that say nothing of additional names: a grammar allows the listed ones alone."""

import json
from typing import Any

import pytest

from openledger_node.engine.closed_schema import closed
from openledger_node.engine.grammar import open_grammars
from openledger_node.engine.tokenizer import ByteTokenizer

GRAMMARS = open_grammars(None, ByteTokenizer.end_id + 1)
LISTED: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}}
OPEN = {**LISTED, "additionalProperties": True}
CLOSED = {**LISTED, "additionalProperties": False}
OTHER = {"type": "object", "properties": {"b": {}}}


def allows(schema: dict[str, Any], text: str) -> bool:
    grammar = GRAMMARS.start(json.dumps(schema))
    return all(map(grammar.push, text.encode()))


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        (LISTED, '{"a":1}', True),
        (LISTED, '{"a":1,"b"', False),
        (CLOSED, '{"a":1,"b"', False),
        (OPEN, '{"a":1,"b":2}', True),
        ({**LISTED, "additionalProperties": {"type": "string"}}, '{"b":"x"}', True),
        ({"type": "object"}, '{"b":1}', True),
        ({"type": "object", "properties": {}}, '{"', False),
        ({**LISTED, "patternProperties": {"^x": {}}}, '{"a":1,"x2":3}', True),
        ({**LISTED, "patternProperties": {"^x": {}}}, '{"a":1,"y', False),
        ({**LISTED, "required": ["a", "z"]}, '{"a":1,"z":2}', True),
        ({"type": "array", "items": LISTED}, '[{"b', False),
        ({"$defs": {"A": LISTED}, "type": "object", "properties": {"x": {"$ref": "#/$defs/A"}}}, '{"x":{"b', False),
        ({"anyOf": [LISTED, OTHER]}, '{"c', False),
        ({"anyOf": [LISTED, OTHER]}, '{"b":1}', True),
        ({"allOf": [LISTED, OTHER]}, '{"a":1,"b":2}', True),
        ({**LISTED, "allOf": [OTHER]}, '{"a":1,"b":2}', True),
        ({"$defs": {"A": LISTED}, "allOf": [{"$ref": "#/$defs/A"}, OTHER]}, '{"a":1,"b":2}', True),
        ({"$defs": {"A": LISTED}, "$ref": "#/$defs/A", "anyOf": [OTHER]}, '{"a":1,"b":2}', True),
        ({"anyOf": [LISTED], "oneOf": [OTHER]}, '{"a":1,"b":2}', True),
        ({"$defs": {"A": LISTED}, "$ref": "#/$defs/A"}, '{"a":1,"b"', False),
        ({"type": "object", "properties": {"properties": {"type": "integer"}}}, '{"properties":1}', True),
    ],
)
def test_an_object_has_its_listed_names_unless_it_allows_others(
    schema: dict[str, Any], text: str, expected: bool
) -> None:
    assert allows(schema, text) is expected


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


def test_wide_lists_of_items_are_closed_each() -> None:
    assert closed({"prefixItems": [LISTED, {"items": LISTED}]}) == {"prefixItems": [CLOSED, {"items": CLOSED}]}
