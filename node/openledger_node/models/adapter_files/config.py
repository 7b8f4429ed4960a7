"""PEFT's `adapter_config.json`: the settings that are served, and the scaling of each module.

Any other setting that would change the forward pass is refused by name. So is a setting that this version does not
know, because in a later PEFT it may change the forward pass.
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
# Without quantifiers and groups they cannot blow up. The allowed number of patterns depends on the number of paths
# that they are matched with, so that the work is bounded too.

MATCHES_MAX = 1 << 20  # 560 modules, each with its own pattern, need a third
CHOICES_MAX = 1 << 14  # the limit for patterns beyond names and dots, which take longer

_NAMES = re.compile(r"[A-Za-z0-9_.]{1,200}")
_CHOICES = re.compile(r"[A-Za-z0-9_.|$^\\]{1,200}")

Patterns = list[tuple[Callable[[str], bool], Any]]
"""Pairs of a predicate that matches a path, and the value for these paths."""


def read_patterns(config: dict[str, Any], setting: str, num_modules: int) -> Patterns:
    """Read `rank_pattern` or `alpha_pattern`, to be matched with `num_modules` paths.

    Raises:
        AdapterRefusedError: a pattern is invalid or has a quantifier or a group, or there are too many.
    """
    patterns = config.get(setting) or {}
    if not isinstance(patterns, dict):
        raise AdapterRefusedError(f"{setting} is not an object")
    num_choices = sum(_NAMES.fullmatch(pattern) is None for pattern in patterns)
    if len(patterns) * num_modules > MATCHES_MAX or num_choices * num_modules > CHOICES_MAX:
        raise AdapterRefusedError(f"{setting} has {len(patterns)} patterns for {num_modules} modules: too many")
    return [(_matcher(setting, pattern), value) for pattern, value in patterns.items()]


def value_for(patterns: Patterns, path: str, default: Any) -> Any:
    """The value of the first pattern that matches whole names at the end of the path, which is PEFT's rule."""
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
        raise AdapterRefusedError(f"{setting}: {quoted(pattern)} is not a valid pattern") from error
    # The pattern is as long as its match, so only one place can match, which is far faster for hundreds of modules.
    return lambda path: (
        path[-len(pattern) - 1 : -len(pattern)] in (".", "") and bool(names.fullmatch(path[-len(pattern) :]))
    )


# ---- config

CONFIG_FILE = "adapter_config.json"
CONFIG_BYTES_MAX = 1 << 20
ALPHA_MAX = 1e6

SERVED: dict[str, tuple[object, ...]] = {
    "bias": ("none",),
    "fan_in_fan_out": (True,),  # the layout of the base's weights, which matters only to DoRA
    "init_lora_weights": (True, "gaussian", "orthogonal", "eva"),  # other values replace weights of the base
    "use_dora": (True,),
    "use_rslora": (True,),
}
"""Settings with the values that are served."""

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
"""Settings that are read here, or that change nothing after training. Any other is refused if it is on."""


def read_config(folder: Path) -> dict[str, Any]:
    """Read `adapter_config.json` and refuse settings that change the forward pass in other ways than LoRA and DoRA.

    Raises:
        AdapterRefusedError: names the setting.
    """
    file = folder / CONFIG_FILE
    try:
        config = read_json(file, size_bytes_max=CONFIG_BYTES_MAX)
    except AdapterRefusedError as error:
        raise AdapterRefusedError(f"{folder} is not a PEFT adapter: {error.message}") from error
    if config.get("peft_type") != "LORA":
        raise AdapterRefusedError(f"{file}: peft_type is {quoted(config.get('peft_type'))}, and only LORA is served")
    for name, value in config.items():
        if value and name not in HARMLESS and not _is_served(name, value):
            raise AdapterRefusedError(f"{file}: {quoted(name)[1:-1]} = {quoted(value)} is not served")
    if config.get("use_dora") and config.get("fan_in_fan_out"):
        raise AdapterRefusedError(f"{file}: use_dora with fan_in_fan_out is not served")
    return config


class Scalings:
    """The declared rank and the scaling of each module."""

    def __init__(self, config: dict[str, Any], num_modules: int) -> None:
        """Read the patterns of a config, to be matched with `num_modules` paths.

        Raises:
            AdapterRefusedError: a pattern is not served, or there are too many.
        """
        self._config = config
        self._ranks = read_patterns(config, "rank_pattern", num_modules)
        self._alphas = read_patterns(config, "alpha_pattern", num_modules)

    def scaling_of(self, path: str, rank: int) -> float:
        """The scaling alpha / rank of the module at `path`, or alpha / sqrt(rank) for rsLoRA.

        Raises:
            AdapterRefusedError: the declared rank differs from the weights, or alpha is invalid.
        """
        declared = value_for(self._ranks, path, self._config.get("r"))
        if type(declared) is not int or declared != rank:
            raise AdapterRefusedError(f"{path}: rank {rank}, but {CONFIG_FILE} says {quoted(declared)}")
        alpha = value_for(self._alphas, path, self._config.get("lora_alpha"))
        if type(alpha) not in (int, float) or not 0 < alpha <= ALPHA_MAX:
            raise AdapterRefusedError(f"{path}: lora_alpha is {quoted(alpha)}, not over 0 and up to {ALPHA_MAX:.0f}")
        return float(alpha / (sqrt(rank) if self._config.get("use_rslora") else rank))


def is_named(config: dict[str, Any], path: str, layer: int | None) -> bool:
    """Return True if PEFT would put an adapter on the module at `path`, by its plain lists; patterns are not run."""
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
    """Compare the type as well, because Python takes 1 and 1.0 for True."""
    return any(type(value) is type(served) and value == served for served in SERVED.get(name, ()))
