"""A row of a Datanet: one question, one answer, and its contributor."""

from dataclasses import dataclass
from typing import Any

from .errors import MalformedError
from .primitives import check_name

ROW_TEXT_LENGTH_MAX = 16_384
"""The maximum length of a row's prompt or completion; contributors split longer texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One training example: the user's turn, the answer to learn, and its contributor's name or address."""

    prompt: str
    completion: str
    contributor: str


def row_from_json(fields: Any) -> Row:
    """Read one line of a rows file.

    Raises:
        MalformedError: it names the field that is missing, empty, too long or unknown.
    """
    if not isinstance(fields, dict):
        raise MalformedError("a row must be a JSON object")
    if unknown := set(fields) - {"prompt", "completion", "contributor"}:
        raise MalformedError(f"a row has no field {sorted(unknown)[0]!r}")
    for name in ("prompt", "completion", "contributor"):
        _check_text(name, fields.get(name))
    return Row(
        prompt=fields["prompt"],
        completion=fields["completion"],
        contributor=check_name(fields["contributor"]),
    )


def _check_text(name: str, text: object) -> None:
    if not isinstance(text, str) or not text.strip():
        raise MalformedError(f"a row's {name!r} must be a text that is not empty")
    if len(text) > ROW_TEXT_LENGTH_MAX:
        raise MalformedError(f"a row's {name!r} has {len(text)} characters, over {ROW_TEXT_LENGTH_MAX}")
