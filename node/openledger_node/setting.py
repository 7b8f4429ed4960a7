"""One setting: what it says of itself, which values it takes, and how TOML and the environment write them."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .errors import ConfigError


@dataclass(frozen=True, slots=True)
class Setting:
    """What a field says of itself beside its type and default."""

    help: str
    low: float | None = None
    high: float | None = None
    choices: Callable[[], list[str]] | None = None


def setting(default: Any, help: str, **bounds: Any) -> Any:
    """A dataclass field with a default, one sentence of help and its bounds."""
    return field(default=default, metadata={"setting": Setting(help, **bounds)})


def checked(name: str, source: str, value: object, hint: type, about: Setting) -> object:
    """Return the value if the setting takes it.

    Raises:
        ConfigError: it is of the wrong type, or out of bounds.
    """
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not hint:
        raise ConfigError(f"{name} ({source}) must be {_article(hint)}, not {value!r}")
    if about.choices and value not in about.choices():
        raise ConfigError(f"{name} ({source}) is {value!r}: choose one of {', '.join(about.choices())}")
    if isinstance(value, int | float):
        if value != value:
            raise ConfigError(f"{name} ({source}) is nan, which is no number")
        if about.low is not None and value < about.low:
            raise ConfigError(f"{name} ({source}) is {value}: the least is {about.low:g}")
        if about.high is not None and value > about.high:
            raise ConfigError(f"{name} ({source}) is {value}: the most is {about.high:g}")
    return value


def value_from_text(variable: str, text: str, hint: type) -> object:
    """Read a value as the environment writes it.

    Raises:
        ConfigError: it can't be read.
    """
    if hint is bool:
        if text.lower() in ("1", "true", "yes", "0", "false", "no"):
            return text.lower() in ("1", "true", "yes")
        raise ConfigError(f"{variable} must be true or false, not {text!r}")
    try:
        return hint(text)
    except ValueError as error:
        raise ConfigError(f"{variable} must be {_article(hint)}, not {text!r}") from error


def _article(hint: type) -> str:
    return {int: "an integer", float: "a number", str: "a text", bool: "true or false"}[hint]


def toml_of(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
