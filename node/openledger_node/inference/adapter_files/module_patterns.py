"""Rank and alpha patterns of PEFT: regular expressions on a module's path, written by strangers.

Without quantifiers and groups they cannot blow up; how many there may be depends on how many paths they are held
against, so that the work is bounded too.
"""

import re
from collections.abc import Callable
from typing import Any

from openledger_protocol.errors import AdapterRefusedError

from .plain_file import quoted

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
