"""Changes to node.toml, one line per setting, so that the operator's formatting and comments stay."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

from .config import TABLES
from .errors import ConfigError
from .home import write_private
from .setting import checked, toml_of

_TABLE = re.compile(r"\s*\[\s*([A-Za-z0-9_-]+)\s*\]\s*(#.*)?")


def write_settings(file: Path, values: Mapping[str, object]) -> None:
    """Write new values ("table.key" → value) into node.toml: all or none, and nothing else changes.

    Raises:
        ConfigError: a value is out of bounds, or the form of the file does not allow changes line by line.
    """
    new = {name: check_value(name, value) for name, value in values.items()}
    text = _read(file)
    wanted = _merged(_parse(file, text), new)
    lines = text.splitlines()
    for name, value in new.items():
        table, key = name.split(".", 1)
        _set(lines, table, key, toml_of(value))
    changed = "\n".join(lines) + "\n"
    try:
        is_as_wanted = tomllib.loads(changed) == wanted
    except tomllib.TOMLDecodeError:
        is_as_wanted = False
    if not is_as_wanted:
        shown = ", ".join(f"[{name.replace('.', '] ')} = {toml_of(value)}" for name, value in new.items())
        raise ConfigError(f"{file} can't be changed line by line: write {shown} into it yourself")
    write_private(file, changed, is_new=False)


def check_value(name: str, value: object) -> object:
    """Return a value if it is valid for the setting "table.key".

    Raises:
        ConfigError: there is no such setting, or the value is invalid.
    """
    table, _, key = name.partition(".")
    spec = next((spec for spec in fields(TABLES[table]) if spec.name == key), None) if table in TABLES else None
    if spec is None:
        raise ConfigError(f"there is no setting {name}: `openledger-node config show` lists them")
    return checked(name, "given", value, get_type_hints(TABLES[table])[key], spec.metadata["setting"])


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {file}: {error}") from error


def _parse(file: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error


def _merged(written: dict[str, Any], new: Mapping[str, object]) -> dict[str, Any]:
    merged = {table: dict(values) if isinstance(values, dict) else values for table, values in written.items()}
    for name, value in new.items():
        table, key = name.split(".", 1)
        merged.setdefault(table, {})[key] = value
    return merged


def _set(lines: list[str], table: str, key: str, value: str) -> None:
    """Change the line of a setting and keep its comment, or add a line at the end of its table."""
    begin, end = _span(lines, table)
    if begin is None:
        lines += ([""] if lines and lines[-1].strip() else []) + [f"[{table}]", f"{key} = {value}"]
        return
    for place in range(begin + 1, end):
        if found := re.fullmatch(rf"(\s*{re.escape(key)}\s*=\s*)(.*)", lines[place]):
            comment = _comment(found[2])
            lines[place] = f"{found[1]}{value}{comment and '  ' + comment}"
            return
    while end > begin + 1 and not lines[end - 1].strip():
        end -= 1
    lines.insert(end, f"{key} = {value}")


def _span(lines: list[str], table: str) -> tuple[int | None, int]:
    """Return the lines of a table's header and of the next header."""
    heads = [place for place, line in enumerate(lines) if _TABLE.fullmatch(line)]
    for place, following in pairwise([*heads, len(lines)]):
        found = _TABLE.fullmatch(lines[place])
        if found and found[1] == table:
            return place, following
    return None, len(lines)


def _comment(written: str) -> str:
    """Return the comment after a value; a `#` inside a string does not start one."""
    bare = re.sub(r"\"(?:\\.|[^\"\\])*\"|'[^']*'", lambda found: "_" * len(found[0]), written)
    return written[bare.index("#") :] if "#" in bare else ""
