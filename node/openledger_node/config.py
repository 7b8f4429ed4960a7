"""All settings, read from their sources; the tables themselves are in config_tables.

A flag overrides the environment (`OPENLEDGER_<TABLE>_<KEY>`), which overrides node.toml, which overrides the default.
Secrets are never settings.
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from .config_tables import (
    AUTO_CONTEXT_MAX,
    ApiConfig,
    ChainConfig,
    FactoryConfig,
    InferenceConfig,
    LimitsConfig,
    MarketConfig,
    NodeConfig,
    P2pConfig,
    PayerConfig,
    SettlementConfig,
)
from .errors import ConfigError
from .home import HOME_VARIABLE
from .setting import Setting, checked, toml_of, value_from_text
from .upkeep_tables import AlertsConfig

__all__ = [
    "AUTO_CONTEXT_MAX",
    "KEY_VARIABLE",
    "TABLES",
    "AlertsConfig",
    "ApiConfig",
    "ChainConfig",
    "Config",
    "FactoryConfig",
    "InferenceConfig",
    "LimitsConfig",
    "MarketConfig",
    "NodeConfig",
    "Origin",
    "P2pConfig",
    "PayerConfig",
    "SettlementConfig",
    "load_config",
    "overriding",
    "render_example",
]

KEY_VARIABLE = "OPENLEDGER_API_KEY"
"""Clients often read the API key from this variable. It is not a setting, and it is not an error either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings, one field per TOML table."""

    node: NodeConfig = field(default_factory=NodeConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    api: ApiConfig = field(default_factory=ApiConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    factory: FactoryConfig = field(default_factory=FactoryConfig)
    market: MarketConfig = field(default_factory=MarketConfig)
    payer: PayerConfig = field(default_factory=PayerConfig)
    chain: ChainConfig = field(default_factory=ChainConfig)
    p2p: P2pConfig = field(default_factory=P2pConfig)
    settlement: SettlementConfig = field(default_factory=SettlementConfig)
    alerts: AlertsConfig = field(default_factory=AlertsConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The source of one value."""

    key: str  # "inference.base"
    value: object
    source: str  # "default", "node.toml", "OPENLEDGER_INFERENCE_BASE", "flag"


TABLES: dict[str, type] = get_type_hints(Config)


def load_config(
    file: Path, *, environment: Mapping[str, str] = os.environ, flags: Mapping[str, object] | None = None
) -> tuple[Config, list[Origin]]:
    """Read the settings and the source of each. `flags` maps "table.key" to a value; None is left out.

    Raises:
        ConfigError: the TOML can't be read, a key is unknown, or a value has the wrong type or is out of bounds.
    """
    written = _read_toml(file)
    _check_variables(environment)
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    tables: dict[str, Any] = {}
    origins: list[Origin] = []
    for table, cls in TABLES.items():
        values = {}
        for key, hint in get_type_hints(cls).items():
            origin = _resolve(table, key, hint, cls, written, environment, given)
            values[key] = origin.value
            origins.append(origin)
        tables[table] = cls(**values)
    config = Config(**tables)
    _check_loopback(config.api.host)
    return config, origins


def render_example() -> str:
    """Render node.example.toml: every setting at its default, commented out, under its help."""
    lines = [
        "# Every setting at its default. Copy this file to node.toml in the data directory and change what you need.",
        "",
    ]
    for table, cls in TABLES.items():
        lines += [f"# {cls.__doc__}", f"[{table}]"]
        for spec in fields(cls):
            about: Setting = spec.metadata["setting"]
            choices = f" One of: {', '.join(about.choices())}." if about.choices else ""
            lines += [f"# {about.help}{choices}", f"# {spec.name} = {toml_of(spec.default)}"]
        lines.append("")
    return "\n".join(lines)


def _resolve(
    table: str,
    key: str,
    hint: type,
    cls: type,
    written: Mapping[str, Any],
    environment: Mapping[str, str],
    flags: Mapping[str, object],
) -> Origin:
    name = f"{table}.{key}"
    spec = next(spec for spec in fields(cls) if spec.name == key)
    variable = f"OPENLEDGER_{table}_{key}".upper()
    if name in flags:
        source, value = "flag", flags[name]
    elif variable in environment:
        source, value = variable, value_from_text(variable, environment[variable], hint)
    elif key in written.get(table, {}):
        source, value = "node.toml", written[table][key]
    else:
        source, value = "default", spec.default
    return Origin(key=name, value=checked(name, source, value, hint, spec.metadata["setting"]), source=source)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        written = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error
    for table, values in written.items():
        _check_known(file, table, TABLES)
        if not isinstance(values, dict):
            raise ConfigError(f"{file}: {table} must be a table: write [{table}] and its keys below")
        for key in values:
            _check_known(file, f"{table}.{key}", [f"{table}.{spec.name}" for spec in fields(TABLES[table])])
    return written


def overriding(table: str, names: Sequence[str]) -> list[str]:
    """Environment variables that will override node.toml at the next start."""
    variables = [f"OPENLEDGER_{table}_{name}".upper() for name in names]
    return [variable for variable in variables if variable in os.environ]


def _check_known(file: Path, name: str, known: Mapping[str, object] | list[str]) -> None:
    if name not in known:
        close = get_close_matches(name, list(known), n=1, cutoff=0.4)
        hint = f": did you mean {close[0]}?" if close else f": there are {', '.join(known)}"
        raise ConfigError(f"{file} has an unknown key {name}{hint}")


def _check_variables(environment: Mapping[str, str]) -> None:
    known = [f"OPENLEDGER_{table}_{spec.name}".upper() for table, cls in TABLES.items() for spec in fields(cls)]
    for variable in environment:
        if variable.startswith("OPENLEDGER_") and variable not in (HOME_VARIABLE, KEY_VARIABLE, *known):
            close = get_close_matches(variable, known, n=1)
            hint = f": did you mean {close[0]}?" if close else ""
            raise ConfigError(f"the environment has an unknown setting {variable}{hint}")


def _check_loopback(host: str) -> None:
    if host not in ("127.0.0.1", "::1", "localhost"):
        raise ConfigError(
            f"api.host is {host!r}, but the API listens on loopback only: "
            "put a reverse proxy with its own authentication in front, or use an SSH tunnel"
        )
