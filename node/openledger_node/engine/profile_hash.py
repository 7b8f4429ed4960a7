"""The hash of a profile in receipts and bids, and the quantisation that such a hash stands for."""

from functools import lru_cache
from itertools import product
from typing import Final

from openledger_protocol.codec import canonical_digest
from openledger_protocol.primitives import Digest

from .backend import Profile

SAMPLER: Final = "gumbel-max/1"
NOISE: Final = "philox4x64/1"

BACKEND: Final = "torch_lora"
KERNELS: Final = ("torch", "triton", "avx512_bf16", "amx_bf16")
"""The backend that can compute signals, which native and cuda belong to, and its kernels."""

DTYPES: Final = ("float32", "bfloat16", "float16")
QUANTISATIONS: Final = ("none", *(f"int{bits}" for bits in range(1, 9)), "nf4")
BASES_MAX: Final = 16


def profile_hash(base: Digest, profile: Profile) -> Digest:
    """Hash everything that decides an answer besides request and adapter: base, dtype, engine, sampler …"""
    return _hash(base, profile.quantisation, profile.dtype, profile.backend, profile.kernel)


def quantisation_of(base: Digest, told: Digest) -> str | None:
    """The quantisation of a profile by its hash; None for a profile that this release does not know."""
    return _known(base).get(told)


def why_incomparable(base: Digest, told: Digest, own: Profile | None) -> str | None:
    """The reason why a replay may differ from an honest seller's; None if it must agree up to rounding.

    `told`: the seller's profile hash. `own`: the profile of the engine that replays. If nothing here replays, any
    profile will do that another node of this release could replay.
    """
    if own and told == profile_hash(base, own):
        return None
    theirs = quantisation_of(base, told)
    if theirs is not None and (own is None or theirs == own.quantisation):
        return None
    seller = "an unknown backend, kernel or quantisation" if theirs is None else f"quantisation {theirs}"
    if own is None:
        return f"the seller runs {seller}, which no node of this release can replay"
    here = f"this node runs quantisation {own.quantisation}"
    return f"the seller runs {seller} and {here}, between which no bound is known"


@lru_cache(BASES_MAX)
def _known(base: Digest) -> dict[Digest, str]:
    return {
        _hash(base, quantisation, dtype, BACKEND, kernel): quantisation
        for quantisation, dtype, kernel in product(QUANTISATIONS, DTYPES, KERNELS)
    }


def _hash(base: Digest, quantisation: str, dtype: str, backend: str, kernel: str) -> Digest:
    return canonical_digest(
        {
            "base": base,
            "quantisation": quantisation,
            "dtype": dtype,
            "logits_dtype": "float32",
            "engine": backend,
            "kernel": kernel,
            "sampler": SAMPLER,
            "noise": NOISE,
        }
    )
