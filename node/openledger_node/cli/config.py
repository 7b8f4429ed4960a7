"""`config`: the settings, where each comes from, and changes of node.toml."""

import re
from dataclasses import asdict, fields
from typing import Annotated, Any, Final, get_type_hints

import typer

from ..config import TABLES, Origin, overriding
from ..errors import ConfigError, InputError
from ..home import Home, is_claimed
from ..network_defaults import load_network_config
from ..setting import value_from_text
from ..settings_file import check_value, remove_setting, write_settings
from .command_tree import nearest_of
from .daemon_client import open_node_home
from .render import emit_json, out_console, plain, say, show_table
from .units import bytes_of, open_amount, size, wei_of

app = typer.Typer(help="Show and change the settings.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Key = Annotated[str, typer.Argument(metavar="SETTING", help="Setting as TABLE.KEY, such as api.port.")]

SECRET: Final = re.compile(r"password|secret|private|token|api.?key|mnemonic", re.IGNORECASE)
AT_ONCE: Final = {
    "limits": "`openledger-node limits set` changes limits at once",
    "payer": "`openledger-node limits set` changes spending limits at once",
    "market": "`openledger-node price set` changes prices at once",
}
"""Commands by which a running node takes other values of a table without a restart."""

"""Tables that a running node reads anew for each report."""


@app.command()
def show(as_json: Json = False) -> None:
    """Show the value of every setting, and where each comes from: environment, node.toml, network or default."""
    home = open_node_home()
    config, origins = load_network_config(home)
    if as_json:
        sources = {entry.key: entry.source for entry in origins}
        emit_json("config", {"file": str(home.config_file), "settings": asdict(config), "origins": sources})
        return
    rows = [[entry.key, human(entry.key, entry.value), entry.source] for entry in origins]
    show_table(["setting", "value", "from"], rows, empty="")
    if home.config_file.exists():
        out_console.print(f"[dim]node.toml is {plain(str(home.config_file))}[/]")
    else:
        out_console.print("[dim]there is no node.toml yet; `openledger-node config set` creates it[/]")


@app.command("get")
def get_value(key: Key, as_json: Json = False) -> None:
    """Print the value of one setting, as node.toml has it."""
    check_key(key)
    entry = _entry(open_node_home(), key)
    if as_json:
        emit_json("setting", {"key": key, "value": entry.value, "origin": entry.source})
        return
    out_console.print(_written(entry.value), markup=False)


@app.command("set")
def set_value(
    key: Key,
    value: Annotated[str, typer.Argument(help="Value, such as 8421, true, 20GB or '0.5 OPEN'.")],
    as_json: Json = False,
) -> None:
    """Change a setting in node.toml. Comments and all other lines stay.

    The node uses the value from its next start on.
    """
    wanted = value_of(key, value)
    home = open_node_home()
    before = _entry(home, key)
    write_settings(home.config_file, {key: wanted})
    _report(home, before, as_json=as_json)


@app.command()
def unset(key: Key, as_json: Json = False) -> None:
    """Remove a setting from node.toml, so that the network's value or the default applies again."""
    check_key(key)
    home = open_node_home()
    before = _entry(home, key)
    remove_setting(home.config_file, key)
    _report(home, before, as_json=as_json)


def check_key(key: str) -> None:
    """Check that a setting exists.

    Raises:
        InputError: there is no such setting, or the name is that of a secret.
    """
    known = [f"{table}.{spec.name}" for table, cls in TABLES.items() for spec in fields(cls)]
    if key in known:
        return
    if SECRET.search(key):
        raise InputError(
            f"{key!r} is not a setting: node.toml holds no secrets. `openledger-node connect` names the file of the "
            "API key"
        )
    raise InputError(f"there is no setting {key!r}{nearest_of(key, known)} List them: `openledger-node config show`")


def value_of(key: str, text: str) -> object:
    """Parse the typed value of a setting: as in node.toml, or a size such as `20GB`, or an amount such as `0.5 OPEN`.

    Raises:
        InputError: there is no such setting, or it does not take this value.
    """
    check_key(key)
    table, name = key.split(".")
    hint = get_type_hints(TABLES[table])[name]
    if hint is int and "_bytes" in name and not text.isdecimal():
        text = str(bytes_of(text))
    if hint is int and name.endswith("_wei") and text.upper().endswith("OPEN"):
        text = wei_of(text[: -len("OPEN")].strip())
    try:
        return check_value(key, value_from_text(key, text, hint))
    except ConfigError as error:
        raise InputError(str(error)) from error


def human(key: str, value: object) -> str:
    """Format a value in the unit that people use."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and "_bytes" in key:
        return size(value) if value else "0"
    if isinstance(value, int) and key.endswith("_wei"):
        return open_amount(value)
    if isinstance(value, int | float) and key.endswith("_s"):
        return f"{value:,g} s"
    if isinstance(value, int) and key.endswith("_percent"):
        return f"{value} %"
    return "–" if value == "" else str(value)


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _entry(home: Home, key: str) -> Origin:
    _, origins = load_network_config(home)
    return next(entry for entry in origins if entry.key == key)


def _report(home: Home, before: Origin, *, as_json: bool) -> None:
    """Say what changed, and whether the running node must be restarted."""
    key, after = before.key, _entry(home, before.key)
    needs_restart = is_claimed(home) and before.value != after.value
    if as_json:
        values: dict[str, Any] = {"key": key, "before": before.value, "value": after.value, "origin": after.source}
        emit_json("setting", {**values, "needs_restart": needs_restart})
        return
    change = f"{human(key, before.value)} → {human(key, after.value)}" if before.value != after.value else "unchanged"
    say(f"[bold]{key}[/]  {plain(change)}  [dim]from {plain(after.source)}[/]")
    table, name = key.split(".")
    if variables := overriding(table, (name,)):
        say(f"[yellow]{variables[0]} is set and overrides node.toml[/]")
    if needs_restart:
        at_once = f"; {AT_ONCE[table]}" if table in AT_ONCE else ""
        say(f"the running node keeps the former value until it is started again{at_once}")
