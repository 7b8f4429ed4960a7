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
    shown = ", ".join(f"[{name.replace('.', '] ')} = {toml_of(value)}" for name, value in new.items())
    _replace(file, "\n".join(lines) + "\n", wanted, f"write {shown} into it")


def remove_setting(file: Path, name: str) -> None:
    """Remove the line of the setting "table.key" from node.toml, and nothing else; nothing if it is not set.

    Raises:
        ConfigError: the form of the file does not allow the change.
    """
    text = _read(file)
    table, key = name.split(".", 1)
    wanted = _parse(file, text)
    if key not in wanted.get(table, {}):
        return
    del wanted[table][key]
    begin, end = _span(lines := text.splitlines(), table)
    own = () if begin is None else range(begin + 1, end)
    kept = [line for place, line in enumerate(lines) if place not in own or not _is_set_in(line, key)]
    _replace(file, "\n".join(kept) + "\n", wanted, f"remove {key} from [{table}]")


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


def _replace(file: Path, changed: str, wanted: dict[str, Any], by_hand: str) -> None:
    """Write the changed text if it means what was wanted."""
    try:
        is_as_wanted = tomllib.loads(changed) == wanted
    except tomllib.TOMLDecodeError:
        is_as_wanted = False
    if not is_as_wanted:
        raise ConfigError(f"{file} can't be changed line by line: {by_hand} yourself")
    write_private(file, changed, is_new=False)


def _is_set_in(line: str, key: str) -> bool:
    return re.match(rf"\s*{re.escape(key)}\s*=", line) is not None


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
