"""The hash of a profile, and the quantisation that a hash stands for."""

from dataclasses import replace

import pytest
from node.engine.scripted_child import PROFILE

from openledger_node.engine.backend import Profile
from openledger_node.engine.profile_hash import profile_hash, quantisation_of, why_incomparable
from openledger_protocol.primitives import Digest

BASE, OTHER_BASE = Digest("0x" + "0b" * 32), Digest("0x" + "0c" * 32)
SERVING = replace(PROFILE, backend="torch_lora", kernel="torch", dtype="float32", quantisation="none")


@pytest.mark.parametrize(
    ("changes", "quantisation"),
    [
        ({}, "none"),
        ({"dtype": "bfloat16", "kernel": "avx512_bf16"}, "none"),
        ({"kernel": "triton", "quantisation": "nf4"}, "nf4"),
        ({"quantisation": "int5"}, "int5"),
        ({"backend": "vllm", "kernel": "vllm"}, None),
        ({"quantisation": "awq"}, None),
    ],
)
def test_the_quantisation_of_a_seller_is_known_by_its_hash(changes: dict[str, str], quantisation: str | None) -> None:
    assert quantisation_of(BASE, profile_hash(BASE, replace(SERVING, **changes))) == quantisation  # type: ignore[arg-type]


def test_the_hash_names_the_base_and_nothing_that_does_not_change_an_answer() -> None:
    assert quantisation_of(OTHER_BASE, profile_hash(BASE, SERVING)) is None
    assert profile_hash(BASE, replace(SERVING, threads=9, context_max=7)) == profile_hash(BASE, SERVING)


INT4 = replace(SERVING, quantisation="int4")
IN_BFLOAT16 = replace(SERVING, dtype="bfloat16", kernel="triton")
UNKNOWN = replace(SERVING, backend="vllm", kernel="vllm")


@pytest.mark.parametrize(
    ("told", "own", "why"),
    [
        (SERVING, SERVING, None),
        (IN_BFLOAT16, SERVING, None),
        (UNKNOWN, UNKNOWN, None),
        (INT4, None, None),
        (INT4, SERVING, "the seller runs quantisation int4 and this node runs quantisation none"),
        (UNKNOWN, SERVING, "the seller runs an unknown backend, kernel or quantisation and this node"),
        (UNKNOWN, None, "which no node of this release can replay"),
    ],
)
def test_a_replay_shows_nothing_against_other_weights(told: Profile, own: Profile | None, why: str | None) -> None:
    found = why_incomparable(BASE, profile_hash(BASE, told), own)
    assert found is None if why is None else why in (found or "")
