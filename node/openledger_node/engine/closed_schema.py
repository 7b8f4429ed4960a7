"""JSON schemas as grammars follow them: an object that lists its properties has no others, unless it allows them."""

from collections.abc import Iterator
from typing import Any, Final

ADDITIONAL: Final = "additionalProperties"

OPENING: Final = (ADDITIONAL, "unevaluatedProperties", "minProperties", "maxProperties")
"""Keywords that say something of names beyond the listed ones."""

COMBINING: Final = ("allOf", "anyOf", "oneOf", "$ref")

_MAPS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_SINGLE: Final = ("items", ADDITIONAL, "additionalItems", "contains", "not", "if", "then", "else", "propertyNames")


def closed(schema: Any) -> Any:
    """Forbid additional properties in each object of a schema that lists its own and says nothing of others.

    A schema that combines objects is returned as it is, because a closed part would forbid the names of the others.
    """
    return schema if any(map(_combines, _schemas_in(schema))) else _closed(schema)


def _closed(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    found = {**schema}
    for key, inner in _inner(schema):
        kept = {name: _closed(each) for name, each in inner.items()}
        found[key] = list(kept.values()) if isinstance(schema[key], list) else kept if key in _MAPS else kept[""]
    return {**found, ADDITIONAL: False} if _is_silent(schema) else found


def _is_silent(schema: dict[str, Any]) -> bool:
    """True if an object lists properties and neither allows nor requires others."""
    listed, required = schema.get("properties"), schema.get("required", [])
    if not isinstance(listed, dict) or not isinstance(required, list) or any(key in schema for key in OPENING):
        return False
    return all(isinstance(name, str) and name in listed for name in required)


def _combines(schema: dict[str, Any]) -> bool:
    """True if an object has properties of several schemas."""
    branches = schema.get("allOf")
    if isinstance(branches, list) and len(branches) > 1:
        return True
    found = [key for key in COMBINING if key in schema]
    return len(found) > 1 or ("properties" in schema and bool(found))


def _schemas_in(schema: Any) -> Iterator[dict[str, Any]]:
    """A schema and all within it."""
    if isinstance(schema, dict):
        yield schema
        for _, inner in _inner(schema):
            for each in inner.values():
                yield from _schemas_in(each)


def _inner(schema: dict[str, Any]) -> Iterator[tuple[str, dict[Any, Any]]]:
    """The keywords that hold schemas, with these; other keywords, such as `enum` and `default`, hold values."""
    for key, value in schema.items():
        if key in _MAPS and isinstance(value, dict):
            yield key, value
        elif key in _LISTS and isinstance(value, list):
            yield key, dict(enumerate(value))
        elif key in _SINGLE:
            yield key, {"": value}
