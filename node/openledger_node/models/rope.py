"""Rotary positions: the rotation speed of each pair of a head's numbers, and its scaling for longer contexts."""

from dataclasses import dataclass
from math import ceil, floor, log, pi, sqrt
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:  # a start reads a base's config before its child processes run, and that needs no numpy
    import numpy as np
    from numpy.typing import NDArray

Doubles: TypeAlias = "NDArray[np.float64]"

ROPE_TYPES = ("default", "linear", "llama3", "yarn", "longrope")
THETA_DEFAULT = 10_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rope:
    """The rotary part of a base's config; each type reads its own fields."""

    type: str = "default"
    theta: float = THETA_DEFAULT
    factor: float = 1.0  # context length divided by the one in training
    original_context: int = 0  # tokens in training
    low_freq_factor: float = 1.0  # llama3
    high_freq_factor: float = 4.0  # llama3
    beta_fast: float = 32.0  # yarn
    beta_slow: float = 1.0  # yarn
    is_truncated: bool = True  # yarn: round its bounds to whole numbers
    short_factors: tuple[float, ...] = ()  # longrope: divide the speed of each pair within the training context
    long_factors: tuple[float, ...] = ()  # longrope: beyond it
    scale: float = 1.0  # multiplies cosines and sines; yarn and longrope use it to sharpen attention

    def frequencies(self, rotary_dim: int, *, context: int = 0) -> "NDArray[np.float32]":
        """Radians a token for each pair, (rotary_dim / 2,), in an engine for sequences of up to `context` tokens.

        NOTE: longrope has two sets of speeds, and a key that was cached with one can't be compared with a query of
        the other. So the longest sequence that may come decides for all, as in vLLM and llama.cpp.
        """
        import numpy as np

        plain = self.theta ** -(np.arange(0, rotary_dim, 2, dtype=np.float64) / rotary_dim)
        return self._scaled(plain, rotary_dim, context).astype(np.float32)

    def _scaled(self, plain: Doubles, rotary_dim: int, context: int) -> Doubles:
        import numpy as np

        if self.type == "linear":
            return plain / self.factor
        if self.type == "llama3":
            return self._llama3(plain)
        if self.type == "longrope":
            factors = self.long_factors if context > self.original_context else self.short_factors
            return plain / np.array(factors, dtype=np.float64)
        return self._yarn(plain, rotary_dim) if self.type == "yarn" else plain

    def _llama3(self, plain: Doubles) -> Doubles:
        """Divide slow rotations by `factor`, keep fast ones, and interpolate between them."""
        turns = self.original_context * plain / (2 * pi)  # rotations within the training context
        kept = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        kept = kept.clip(0.0, 1.0)
        return plain * (kept + (1 - kept) / self.factor)

    def _yarn(self, plain: Doubles, head_dim: int) -> Doubles:
        """Interpolate like llama3, but over the pairs' indices. Source: Peng et al. 2023, section 3.2."""

        def pair_of(num_turns: float) -> float:
            return head_dim * log(self.original_context / (num_turns * 2 * pi)) / (2 * log(self.theta))

        import numpy as np

        low, high = pair_of(self.beta_fast), pair_of(self.beta_slow)
        if self.is_truncated:
            low, high = floor(low), ceil(high)
        low, high = max(low, 0), min(high, head_dim - 1)
        width = high - low or 0.001
        slowed = np.clip((np.arange(head_dim // 2) - low) / width, 0.0, 1.0)
        kept: Doubles = 1 - slowed + slowed / self.factor
        return plain * kept


def rope_from(fields: dict[str, Any], kind: str = "full_attention") -> Rope:
    """Read the rotary settings of a base's config: `rope_parameters`, or `rope_scaling` in older configs.

    `kind`: the type of layers, if there are settings for each.
    """
    found = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
    found = found.get(kind, found)
    context = fields.get("max_position_embeddings", 0)
    original = fields.get("original_max_position_embeddings") or found.get("original_max_position_embeddings")
    original = original or context
    factor = float(found.get("factor") or context / original if original else 1.0)
    type_ = _ALIASES.get(str(fields.get("model_type")), {}).get(_type_of(found), _type_of(found))
    return Rope(
        type=type_,
        theta=float(found.get("rope_theta") or fields.get("rope_theta") or THETA_DEFAULT),
        factor=factor,
        original_context=original,
        low_freq_factor=float(found.get("low_freq_factor") or 1.0),
        high_freq_factor=float(found.get("high_freq_factor") or 4.0),
        beta_fast=float(found.get("beta_fast") or 32.0),
        beta_slow=float(found.get("beta_slow") or 1.0),
        is_truncated=bool(found.get("truncate", True)),
        short_factors=tuple(found.get("short_factor") or ()),
        long_factors=tuple(found.get("long_factor") or ()),
        scale=_scale(type_, found, factor, original),
    )


def sliding_rope_from(fields: dict[str, Any]) -> Rope | None:
    """Read the rotary settings of layers with a window; None if they are those of the other layers."""
    if "sliding_attention" in (fields.get("rope_parameters") or {}):
        return rope_from(fields, "sliding_attention")
    if theta := fields.get("rope_local_base_freq"):
        return Rope(theta=float(theta), original_context=fields.get("max_position_embeddings", 0))
    return None


_ALIASES = {"phi3": {"su": "longrope", "yarn": "longrope"}}
"""Names of older configs; source: transformers."""


def _type_of(found: dict[str, Any]) -> str:
    return str(found.get("rope_type") or found.get("type") or "default")


def _scale(type_: str, found: dict[str, Any], factor: float, original: int) -> float:
    """The factor of cosines and sines."""
    if type_ not in ("yarn", "longrope"):
        return 1.0
    if found.get("attention_factor") is not None:
        return float(found["attention_factor"])
    if type_ == "longrope":
        return sqrt(1 + log(factor) / log(original)) if factor > 1 else 1.0
    return _yarn_scale(found, factor)


def _yarn_scale(found: dict[str, Any], factor: float) -> float:
    mscale, mscale_all = found.get("mscale"), found.get("mscale_all_dim")
    if mscale and mscale_all:
        return _sharpness(factor, mscale) / _sharpness(factor, mscale_all)
    return _sharpness(factor, 1.0)


def _sharpness(factor: float, mscale: float) -> float:
    return 0.1 * mscale * log(factor) + 1.0 if factor > 1 else 1.0
