"""The change of the base: the settings that serve another one, and all that must hold before they are written."""

from dataclasses import replace
from typing import Any

from ..config import Config, overriding
from ..engine.tokenizer import open_tokenizer
from ..errors import ConfigError, ModelError, NodeError
from ..home import Home, is_training
from ..models.bases import FAKE_BASE_NAME, Base, changed_file, find_base, pull_name
from .base_look import BaseLooks


def settings_for(home: Home, config: Config, name: str, *, held_bytes: int = 0) -> dict[str, Any]:
    """The settings ("table.key" → value) that make the node serve a base, once it is known to fit; blocks.

    `held_bytes`: as in `BaseLooks`.

    Raises:
        ConfigError: it is served already.
        ModelError: it is not on this machine, its files are damaged, or it does not fit into the memory.
    """
    base = find_base(home, name)
    if is_served(home, config, base):
        raise ConfigError(f"{base.name} is the base that is served already")
    looks, chosen = BaseLooks(home, config, held_bytes=held_bytes), written_name(home, base)
    quantisation = None if base.name == FAKE_BASE_NAME else looks.quantisation_for(chosen)
    if quantisation is None:
        looks.check_memory(chosen)
        return {"inference.base": chosen}
    return {"inference.base": chosen, "inference.quantisation": quantisation}


def settings_to_start_with(home: Home, config: Config, name: str, *, held_bytes: int) -> dict[str, Any]:
    """The same settings for a running node, which starts again with them; blocks.

    Whatever would keep the next start from serving the base is found here, while the node still serves the old one.

    Raises:
        ConfigError: it is served already, something overrides node.toml, or a training runs.
        ModelError: it is not on this machine, its files are damaged, or it does not fit into the memory.
    """
    from ..engine.options import engine_options  # brings trio, which a command that lists models does without

    if is_training(home):
        raise ConfigError(
            "a training is running on the base that is served: wait until it ends, or run "
            "`openledger-node factory stop`"
        )
    if why := overridden():
        raise ConfigError(f"{why}: unset it, and start the node again")
    changes = settings_for(home, config, name, held_bytes=held_bytes)
    base, fields = find_base(home, name), {key.partition(".")[2]: value for key, value in changes.items()}
    if base.folder and base.gguf is None and (file := changed_file(base.folder)):
        again = f"`openledger-node models pull {pull_name(base)}`"
        raise ModelError(f"{file} is not as it was when {base.name} was described, by its size: run {again}")
    open_tokenizer(base.folder)
    after = replace(config, inference=replace(config.inference, **fields))
    engine_options(home, after, base, held_bytes=held_bytes)
    return changes


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
