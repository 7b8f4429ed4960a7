"""One setting: its help and bounds, and its forms in TOML and the environment."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from .errors import ConfigError


@dataclass(frozen=True, slots=True)
class Setting:
    """Help, bounds and choices of a field, beside its type and default."""

    help: str
    low: float | None = None
    high: float | None = None
    gap: float | None = None  # values between 0, which means another thing, and this one are out of bounds
    choices: Callable[[], Iterable[str]] | None = None  # the usual ones first: finding others may take long
    read: Callable[[str], object] | None = None  # raises ConfigError for a text that means nothing


def setting(default: Any, help: str, **bounds: Any) -> Any:
    """Make a dataclass field with a default, one sentence of help and bounds."""
    return field(default=default, metadata={"setting": Setting(help, **bounds)})


def checked(name: str, source: str, value: object, hint: type, about: Setting) -> object:
    """Return the value if it is valid for the setting.

    Raises:
        ConfigError: the value has the wrong type or is out of bounds.
    """
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not hint:
        raise ConfigError(f"{name} ({source}) must be {_article(hint)}, not {value!r}")
    if about.choices and not any(value == choice for choice in about.choices()):
        raise ConfigError(f"{name} ({source}) is {value!r}: choose one of {', '.join(about.choices())}")
    if about.read and isinstance(value, str):
        try:
            about.read(value)
        except ConfigError as error:
            raise ConfigError(f"{name} ({source}): {error}") from error
    if isinstance(value, int | float):
        if value != value:
            raise ConfigError(f"{name} ({source}) is nan, which is not a number")
        if about.low is not None and value < about.low:
            raise ConfigError(f"{name} ({source}) is {value}: the least is {about.low:g}")
        if about.gap is not None and 0 < value < about.gap:
            raise ConfigError(f"{name} ({source}) is {value}: the least is {about.gap:g}, or 0")
        if about.high is not None and value > about.high:
            raise ConfigError(f"{name} ({source}) is {value}: the most is {about.high:g}")
    return value


def value_from_text(variable: str, text: str, hint: type) -> object:
    """Parse the value of an environment variable.

    Raises:
        ConfigError: the text is not of the setting's type.
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
    """Format a value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
