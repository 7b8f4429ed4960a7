"""Reads config.json as a stranger's file: every field may be missing, of another type, or absurdly large."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import ModelError

CONFIG_BYTES_MAX = 1 << 20
"""Published ones have a few kB."""

GENERATION_CONFIG = "generation_config.json"
"""The file beside config.json with the ends of an answer and the recommended sampling."""

SIZES_MAX: Mapping[str, int] = {
    "vocab_size": 1 << 24,
    "hidden_size": 1 << 17,
    "intermediate_size": 1 << 20,
    "num_hidden_layers": 1 << 10,
    "num_attention_heads": 1 << 12,
    "num_key_value_heads": 1 << 12,
    "head_dim": 1 << 14,
    "max_position_embeddings": 1 << 30,
    "sliding_window": 1 << 30,
}
"""Bounds far above every published base, so that no plan counts on a typing error or an attack."""


def read_fields(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """Read the fields of a folder's config.json, or of another such file.

    Raises:
        FileNotFoundError: there is none.
        ModelError: it is too large, or is not a JSON object.
    """
    file = folder / name
    if (size := file.stat().st_size) > CONFIG_BYTES_MAX:
        raise ModelError(
            f"{file} has {size:,} bytes, which is too large for a model's configuration: choose another base"
        )
    try:
        fields = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{file} is not JSON ({str(error)[:80]}): pull the base again, or choose another one"
        ) from error
    if not isinstance(fields, dict):
        raise ModelError(f"{file} is not a JSON object: pull the base again, or choose another one")
    return fields


def stated_context(folder: Path) -> int:
    """The tokens of context that a config.json of any architecture states; 0 if it states none that can be read."""
    with suppress(ModelError):
        fields = read_fields(folder)
        inner = fields.get("text_config")
        found = {**fields, **(inner if isinstance(inner, dict) else {})}.get("max_position_embeddings")
        if isinstance(found, int) and found > 0:
            return found
    return 0


def check_sizes(fields: Mapping[str, Any], name: str) -> None:
    """Require that the sizes that are there are whole numbers that a model can have.

    Raises:
        ModelError: names the first one that is not.
    """
    for key, most in SIZES_MAX.items():
        value = fields.get(key)
        if value is not None and (type(value) is not int or not 1 <= value <= most):
            raise ModelError(
                f"the config.json of {_title(name)} says {key} = {_short(value)}, but it must be a whole number "
                f"from 1 to {most:,}: choose another base"
            )


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn the errors of code that takes fields as they usually are into a refusal of the file.

    Raises:
        ModelError: a field is missing, or has another type.
    """
    try:
        yield
    except KeyError as error:
        raise ModelError(f"the config.json of {_title(name)} has no {error}: choose another base") from error
    except (TypeError, ValueError, AttributeError, ArithmeticError, IndexError) as error:
        raise ModelError(
            f"a field of the config.json of {_title(name)} has another type than a model's ({str(error)[:80]}): "
            "choose another base"
        ) from error


def _title(name: str) -> str:
    """The name of a base whose folder is named NAME, or .NAME.partial while it is downloaded."""
    return name.removeprefix(".").removesuffix(".partial")


def _short(value: object) -> str:
    if type(value) is int and value.bit_length() > 64:
        return f"a number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
