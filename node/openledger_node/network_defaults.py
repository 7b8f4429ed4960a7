"""Defaults of settings that the network's votes decide, kept here so that the next start has them, too.

A setting that the operator has set overrides them. An endpoint could lie about them, so a value far from the shipped
default is left out with a sentence, and the operator can still set it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from openledger_protocol.constants import NEWCOMER_CHUNK_MAX
from openledger_protocol.epoch import Params

from .config import AUTO_CONTEXT_MAX, Config, Origin, load_config
from .errors import ConfigError, NodeError
from .home import Home, write_private
from .network_file import current_network
from .setting import Setting, checked

SCHEMA: Final = "openledger.defaults/1"
SOURCE: Final = "the network"
FILE_BYTES_MAX: Final = 4_096

DEFAULTS: Final = Config()
IN_PER_OUT: Final = (DEFAULTS.market.price_in_wei, DEFAULTS.market.price_out_wei)
"""The guide price is that of answer tokens; prompt tokens keep the shipped ratio to it."""

CONTEXT: Final = "inference.context_max"

CHUNK: Final = "market.credit_tokens_max"
"""NOTE: at most the tokens that a newcomer is paid for ahead. If all nodes took a longer chunk from a vote, nobody
could buy a first answer anywhere."""

FACTOR_MAX: Final[Mapping[str, int]] = {
    "market.price_in_wei": 1_000,
    "market.price_out_wei": 1_000,
    CHUNK: 16,
    "payer.deposit_wei": 10,
    CONTEXT: 16,
}
"""By setting: a value so many times greater or smaller than the shipped one is not taken from the network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkDefaults:
    """The values of settings by the network's parameters of one epoch, and why some of them are not taken."""

    epoch: int
    values: Mapping[str, int]
    doubts: tuple[str, ...] = ()


def defaults_of(params: Params, epoch: int) -> NetworkDefaults:
    """The settings that the network's parameters decide, as far as they are plausible."""
    price_out = int(params.guide_price_wei)
    wanted = {
        "market.price_in_wei": price_out * IN_PER_OUT[0] // IN_PER_OUT[1],
        "market.price_out_wei": price_out,
        CHUNK: params.credit_tokens_max,
        "payer.deposit_wei": max(DEFAULTS.payer.deposit_wei, params.min_deposit_wei),
    }
    if params.least_context > AUTO_CONTEXT_MAX:  # up to there, a context that is chosen by itself is long enough
        wanted[CONTEXT] = params.least_context
    found = {name: value for name, value in wanted.items() if _is_plausible(name, value)}
    if CHUNK in found:
        found[CHUNK] = min(found[CHUNK], NEWCOMER_CHUNK_MAX)
    doubts = tuple(
        f"the network's value of [{name.replace('.', '] ', 1)} is {wanted[name]:,}, far from the usual "
        f"{_shipped(name):,}, and is not taken: set it yourself if it is right"
        for name in wanted.keys() - found.keys()
    )
    return NetworkDefaults(epoch=epoch, values=found, doubts=tuple(sorted(doubts)))


def load_network_config(home: Home, *, flags: Mapping[str, object] | None = None) -> tuple[Config, list[Origin]]:
    """Read the settings as `load_config` does, with the network's defaults of those that are not set.

    Raises:
        ConfigError: as `load_config`.
    """
    config, origins = load_config(home.config_file, flags=flags)
    try:
        network = current_network(home, config.node.network)
    except NodeError:
        return config, origins  # the command that needs the network says what is wrong with it
    found = read_defaults(home, network.network) if network else None
    return (config, origins) if found is None else apply_defaults(config, origins, found)


def apply_defaults(config: Config, origins: Sequence[Origin], found: NetworkDefaults) -> tuple[Config, list[Origin]]:
    """Replace the shipped defaults by the network's; what the operator has set stays."""
    merged: list[Origin] = []
    for origin in origins:
        if origin.source != "default" or origin.key not in found.values:
            merged.append(origin)
            continue
        value = found.values[origin.key]
        table, key = origin.key.split(".", 1)
        config = replace(config, **{table: replace(getattr(config, table), **{key: value})})
        merged.append(Origin(key=origin.key, value=value, source=SOURCE))
    return config, merged


def read_defaults(home: Home, network: str) -> NetworkDefaults | None:
    """The defaults that were kept last; None if there are none, or the file is damaged."""
    try:
        with _file(home, network).open("rb") as stream:
            content = json.loads(stream.read(FILE_BYTES_MAX))
        values = {name: int(value) for name, value in content["values"].items() if _is_plausible(name, int(value))}
        return NetworkDefaults(epoch=int(content["epoch"]), values=values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def keep_defaults(home: Home, network: str, found: NetworkDefaults) -> None:
    """Keep defaults for later starts. Amounts are texts, because JSON numbers lose digits."""
    content = {"schema": SCHEMA, "epoch": found.epoch, "values": {name: str(v) for name, v in found.values.items()}}
    write_private(_file(home, network), json.dumps(content, indent=2) + "\n", is_new=False)


def _file(home: Home, network: str) -> Any:
    return home.network(network) / "defaults.json"


def _is_plausible(name: str, value: int) -> bool:
    """True if the setting takes a value, and it is not far from the shipped one."""
    if name not in FACTOR_MAX or (name == CONTEXT and value <= AUTO_CONTEXT_MAX):
        return False
    shipped, factor = _shipped(name), FACTOR_MAX[name]
    try:
        checked(name, SOURCE, value, int, _about(name))
    except ConfigError:
        return False
    return shipped <= value * factor and value <= shipped * factor


def _shipped(name: str) -> int:
    if name == CONTEXT:
        return AUTO_CONTEXT_MAX
    table, key = name.split(".", 1)
    value: int = getattr(getattr(DEFAULTS, table), key)
    return value


def _about(name: str) -> Setting:
    table, key = name.split(".", 1)
    about: Setting = type(getattr(DEFAULTS, table)).__dataclass_fields__[key].metadata["setting"]
    return about
