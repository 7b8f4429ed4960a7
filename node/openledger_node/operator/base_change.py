"""The change of the base: the settings that serve another one, and all that must hold before they are written."""

from dataclasses import replace
from typing import Any

from ..config import Config, overriding
from ..engine.tokenizer import open_tokenizer
from ..errors import ConfigError, ModelError, NodeError
from ..home import Home, is_training
from ..models.bases import Base, changed_file, find_base, pull_name
from .base_look import BaseLooks


def settings_for(home: Home, config: Config, name: str, *, held_bytes: int = 0) -> dict[str, Any]:
    """The settings ("table.key" → value) that make the next start serve a base; blocks.

    Whatever would keep that start from serving it is found here, while a running node still serves the old one.
    `held_bytes`: as in `BaseLooks`.

    Raises:
        ConfigError: it is served already, or a training runs.
        ModelError: it is not on this machine, its files are damaged, or it does not fit into the memory.
    """
    from ..engine.options import engine_options  # brings trio, which a command that lists models does without

    if is_training(home):
        stop = "wait until it ends, or run `openledger-node factory stop`"
        raise ConfigError(f"a training is running on the base that is served: {stop}")
    base = find_base(home, name)
    if is_served(home, config, base):
        raise ConfigError(f"{base.name} is the base that is served already")
    looks, chosen = BaseLooks(home, config, held_bytes=held_bytes), written_name(home, base)
    fields: dict[str, Any] = {"base": chosen}
    if quantisation := looks.quantisation_for(chosen):
        fields["quantisation"] = quantisation
    else:
        looks.check_memory(chosen)
    if base.folder and base.gguf is None and (file := changed_file(base.folder)):
        again = f"`openledger-node models pull {pull_name(base)}`"
        raise ModelError(f"{file} is not as it was when {base.name} was described, by its size: run {again}")
    open_tokenizer(base.folder)
    after = replace(config, inference=replace(config.inference, **fields))
    engine_options(home, after, base, held_bytes=held_bytes)
    return {f"inference.{key}": value for key, value in fields.items()}


def overridden() -> str | None:
    """A warning that the next start takes another base than node.toml names; None if it does not."""
    variables = overriding("inference", ("base", "quantisation"))
    return f"{variables[0]} is set and overrides node.toml at the next start" if variables else None


def is_served(home: Home, config: Config, base: Base) -> bool:
    """Return True if the settings name this base."""
    try:
        return find_base(home, config.inference.base).digest == base.digest
    except NodeError:  # the settings name a base that is not here: any other one helps
        return False


def written_name(home: Home, base: Base) -> str:
    """The name for node.toml: that of a base in the data directory, or the path of an operator's own folder."""
    return base.name if base.folder is None or base.folder.parent == home.models else str(base.folder)
