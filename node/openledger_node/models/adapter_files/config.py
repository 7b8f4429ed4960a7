"""`adapter_config.json` as PEFT writes it: what of it is served, and how it scales each module.

Whatever else would change the forward pass is refused by name; so is a setting that this version does not know, since
a later PEFT may have one that does.
"""

import re
from collections.abc import Callable
from math import sqrt
from pathlib import Path
from typing import Any

from openledger_protocol.errors import AdapterRefusedError

from .plain_file import quoted, read_json

# ---- Rank and alpha patterns of PEFT: regular expressions on a module's path, written by strangers.
#
# Without quantifiers and groups they cannot blow up; how many there may be depends on how many paths they are held
# against, so that the work is bounded too.

MATCHES_MAX = 1 << 20  # 560 modules, each with a pattern of its own, need a third
CHOICES_MAX = 1 << 14  # the same of patterns that are more than names and dots, which take longer

_NAMES = re.compile(r"[A-Za-z0-9_.]{1,200}")
_CHOICES = re.compile(r"[A-Za-z0-9_.|$^\\]{1,200}")

Patterns = list[tuple[Callable[[str], bool], Any]]
"""Whether a path is meant, and the value for it."""


def read_patterns(config: dict[str, Any], setting: str, num_modules: int) -> Patterns:
    """Read `rank_pattern` or `alpha_pattern`, to be held against `num_modules` paths.

    Raises:
        AdapterRefusedError: one is no pattern or has a quantifier or a group, or there are too many.
    """
    patterns = config.get(setting) or {}
    if not isinstance(patterns, dict):
        raise AdapterRefusedError(f"{setting} is no object")
    num_choices = sum(_NAMES.fullmatch(pattern) is None for pattern in patterns)
    if len(patterns) * num_modules > MATCHES_MAX or num_choices * num_modules > CHOICES_MAX:
        raise AdapterRefusedError(f"{setting} has {len(patterns)} patterns for {num_modules} modules: too many")
    return [(_matcher(setting, pattern), value) for pattern, value in patterns.items()]


def value_for(patterns: Patterns, path: str, default: Any) -> Any:
    """PEFT's own rule: the first pattern that matches the end of the path, whole names only."""
    return next((value for is_meant, value in patterns if is_meant(path)), default)


def _matcher(setting: str, pattern: str) -> Callable[[str], bool]:
    if not _CHOICES.fullmatch(pattern):
        raise AdapterRefusedError(f"{setting}: pattern {quoted(pattern)} is not served")
    try:
        if not _NAMES.fullmatch(pattern):
            whole = re.compile(rf"(.*\.)?({pattern})$")
            return lambda path: whole.match(path) is not None
        names = re.compile(pattern)
    except re.error as error:
        raise AdapterRefusedError(f"{setting}: {quoted(pattern)} is no pattern") from error
    # As long as what it matches, so there is one place to look at: far quicker for hundreds of modules.
    return lambda path: (
        path[-len(pattern) - 1 : -len(pattern)] in (".", "") and bool(names.fullmatch(path[-len(pattern) :]))
    )


# ---- config

CONFIG_FILE = "adapter_config.json"
CONFIG_BYTES_MAX = 1 << 20
ALPHA_MAX = 1e6

SERVED: dict[str, tuple[object, ...]] = {
    "bias": ("none",),
    "fan_in_fan_out": (True,),  # how the base keeps its weights, which matters to DoRA alone
    "init_lora_weights": (True, "gaussian", "orthogonal", "eva"),  # others replace weights of the base
    "use_dora": (True,),
    "use_rslora": (True,),
}
"""Settings of which some values are served."""

LAYERS = "layers_to_transform"

HARMLESS = frozenset(
    {
        "alpha_pattern",
        "auto_mapping",
        "base_model_name_or_path",
        "eva_config",
        "exclude_modules",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "lora_dropout",
        "megatron_core",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "r",
        "rank_pattern",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
    }
)
"""Settings that are read here, or that change nothing once an adapter is trained. Any other that is on is refused."""


def read_config(folder: Path) -> dict[str, Any]:
    """Read `adapter_config.json` and refuse what changes the forward pass otherwise than LoRA and DoRA do.

    Raises:
        AdapterRefusedError: naming the setting.
    """
    file = folder / CONFIG_FILE
    try:
        config = read_json(file, size_bytes_max=CONFIG_BYTES_MAX)
    except AdapterRefusedError as error:
        raise AdapterRefusedError(f"{folder} is no PEFT adapter: {error.message}") from error
    if config.get("peft_type") != "LORA":
        raise AdapterRefusedError(f"{file}: peft_type is {quoted(config.get('peft_type'))}, and only LORA is served")
    for name, value in config.items():
        if value and name not in HARMLESS and not _is_served(name, value):
            raise AdapterRefusedError(f"{file}: {quoted(name)[1:-1]} = {quoted(value)} is not served")
    if config.get("use_dora") and config.get("fan_in_fan_out"):
        raise AdapterRefusedError(f"{file}: use_dora with fan_in_fan_out is not served")
    return config


class Scalings:
    """What the config says of each module: its rank, and by how much it is scaled."""

    def __init__(self, config: dict[str, Any], num_modules: int) -> None:
        """Read the patterns of a config, to be matched with `num_modules` paths.

        Raises:
            AdapterRefusedError: a pattern is none that is served, or there are too many.
        """
        self._config = config
        self._ranks = read_patterns(config, "rank_pattern", num_modules)
        self._alphas = read_patterns(config, "alpha_pattern", num_modules)

    def scaling_of(self, path: str, rank: int) -> float:
        """alpha / rank of the module at `path`, or alpha / sqrt(rank) for rsLoRA.

        Raises:
            AdapterRefusedError: the config declares another rank than the weights have, or an alpha that is none.
        """
        declared = value_for(self._ranks, path, self._config.get("r"))
        if type(declared) is not int or declared != rank:
            raise AdapterRefusedError(f"{path}: rank {rank}, but {CONFIG_FILE} says {quoted(declared)}")
        alpha = value_for(self._alphas, path, self._config.get("lora_alpha"))
        if type(alpha) not in (int, float) or not 0 < alpha <= ALPHA_MAX:
            raise AdapterRefusedError(f"{path}: lora_alpha is {quoted(alpha)}, not over 0 and up to {ALPHA_MAX:.0f}")
        return float(alpha / (sqrt(rank) if self._config.get("use_rslora") else rank))


def is_named(config: dict[str, Any], path: str, layer: int | None) -> bool:
    """Whether PEFT would put an adapter on the module at `path`, as far as plain lists say; patterns are not run."""
    targets, excluded, layers = (config.get(name) for name in ("target_modules", "exclude_modules", LAYERS))
    if isinstance(targets, list) and targets and not _has_ending(path, targets):
        return False
    if isinstance(excluded, list) and _has_ending(path, excluded):
        return False
    chosen = layers if isinstance(layers, list) else [layers]
    return layer is None or layers in (None, []) or layer in chosen


def _has_ending(path: str, names: list[Any]) -> bool:
    return any(path == name or path.endswith(f".{name}") for name in names)


def _is_served(name: str, value: object) -> bool:
    """By type as well: Python takes 1 and 1.0 for True."""
    return any(type(value) is type(served) and value == served for served in SERVED.get(name, ()))
