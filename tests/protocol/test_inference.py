"""Sampling parameters: each bound from both sides."""

from dataclasses import replace
from typing import Any

import pytest

from openledger_protocol.constants import STOP_STRING_LENGTH_MAX, STOP_STRINGS_MAX, TEMPERATURE_MAX
from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import SamplingParams, check_sampling

PLAIN = SamplingParams(max_tokens=1, seed=0)
NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_tokens": 1 << 40},
        {"seed": 2**64 - 1},
        {"temperature": 0},
        {"temperature": TEMPERATURE_MAX},
        {"top_p": 1e-9},
        {"top_k": 2**31 - 1},
        {"min_p": 0},
        {"min_p": 1},
        {"stop": ("x" * STOP_STRING_LENGTH_MAX,) * STOP_STRINGS_MAX},
    ],
)
def test_parameters_at_their_bounds_pass(changes: dict[str, Any]) -> None:
    params = replace(PLAIN, **changes)
    assert check_sampling(params) is params


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"max_tokens": -1}, "max_tokens must be at least 1"),
        ({"seed": -1}, "seed must be an unsigned 64-bit integer"),
        ({"seed": 2**64}, "seed must be an unsigned 64-bit integer"),
        ({"temperature": -0.001}, "temperature must be from 0 to 2"),
        ({"temperature": 2.001}, "temperature must be from 0 to 2"),
        ({"temperature": NAN}, "temperature must be from 0 to 2"),
        ({"temperature": INFINITY}, "temperature must be from 0 to 2"),
        ({"top_p": 0.0}, "top_p must be over 0 and at most 1"),
        ({"top_p": 1.001}, "top_p must be over 0 and at most 1"),
        ({"top_p": NAN}, "top_p must be over 0 and at most 1"),
        ({"top_k": -1}, "top_k must be from 0 to 2147483647"),
        ({"top_k": 2**31}, "top_k must be from 0 to 2147483647"),
        ({"min_p": -0.001}, "min_p must be from 0 to 1"),
        ({"min_p": 1.001}, "min_p must be from 0 to 1"),
        ({"min_p": NAN}, "min_p must be from 0 to 1"),
        ({"stop": ("a",) * (STOP_STRINGS_MAX + 1)}, "stop takes at most 4 strings"),
        ({"stop": ("",)}, "a stop string has 1 to 256 characters"),
        ({"stop": ("a", "x" * (STOP_STRING_LENGTH_MAX + 1))}, "a stop string has 1 to 256 characters"),
    ],
)
def test_a_parameter_out_of_bounds_is_named(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(MalformedError) as refusal:
        check_sampling(replace(PLAIN, **changes))
    assert refusal.value.message == rule


def test_the_first_broken_rule_is_the_one_that_is_told() -> None:
    with pytest.raises(MalformedError, match="max_tokens"):
        check_sampling(replace(PLAIN, max_tokens=0, seed=-1, stop=("",)))
