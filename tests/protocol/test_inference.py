"""Sampling parameters: each bound from both sides."""

from dataclasses import replace
from typing import Any

import pytest

from openledger_protocol.constants import (
    JSON_SCHEMA_BYTES_MAX,
    STOP_STRING_LENGTH_MAX,
    STOP_STRINGS_MAX,
    TEMPERATURE_MAX,
)
from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import ADDED_SAMPLING, SamplingParams, check_sampling, plain_sampling

PLAIN = SamplingParams(max_tokens=1, seed=0)
NAN, INFINITY = float("nan"), float("inf")
LARGEST_SCHEMA = '{"title":"' + "x" * (JSON_SCHEMA_BYTES_MAX - 12) + '"}'


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
        {"frequency_penalty": -2, "presence_penalty": 2, "repetition_penalty": 2},
        {"repetition_penalty": 1e-9},
        {"logprobs": 0},
        {"logprobs": 20},
        {"json_schema": "{}"},
        {"json_schema": LARGEST_SCHEMA},
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
        ({"stop": ("a",) * (STOP_STRINGS_MAX + 1)}, "stop takes at most 16 strings"),
        ({"stop": ("",)}, "stop takes strings of 1 to 256 characters"),
        ({"stop": ("a", "x" * (STOP_STRING_LENGTH_MAX + 1))}, "stop takes strings of 1 to 256 characters"),
        ({"frequency_penalty": -2.001}, "frequency_penalty must be from -2 to 2"),
        ({"frequency_penalty": NAN}, "frequency_penalty must be from -2 to 2"),
        ({"presence_penalty": 2.001}, "presence_penalty must be from -2 to 2"),
        ({"repetition_penalty": 0}, "repetition_penalty must be over 0 and at most 2"),
        ({"repetition_penalty": 2.001}, "repetition_penalty must be over 0 and at most 2"),
        ({"repetition_penalty": NAN}, "repetition_penalty must be over 0 and at most 2"),
        ({"logprobs": -1}, "logprobs must be from 0 to 20"),
        ({"logprobs": 21}, "logprobs must be from 0 to 20"),
        ({"json_schema": LARGEST_SCHEMA + " "}, "json_schema must be at most 65536 bytes long"),
        ({"json_schema": ""}, "json_schema must be JSON text"),
        ({"json_schema": "{"}, "json_schema must be JSON text"),
        ({"json_schema": "[" * 60_000}, "json_schema must be JSON text"),
        ({"json_schema": "[]"}, "json_schema must be a JSON object"),
        ({"json_schema": "true"}, "json_schema must be a JSON object"),
    ],
)
def test_a_parameter_out_of_bounds_is_named(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(MalformedError) as refusal:
        check_sampling(replace(PLAIN, **changes))
    assert refusal.value.message == rule


def test_the_first_broken_rule_is_the_one_that_is_told() -> None:
    with pytest.raises(MalformedError, match="max_tokens"):
        check_sampling(replace(PLAIN, max_tokens=0, seed=-1, stop=("",)))


ADDED: dict[str, Any] = {
    "frequency_penalty": 0.5,
    "presence_penalty": -0.5,
    "repetition_penalty": 1.5,
    "logprobs": 0,
    "json_schema": "{}",
}


def test_parameters_that_were_added_later_are_absent_at_their_defaults() -> None:
    first = ["max_tokens", "seed", "temperature", "top_p", "top_k", "min_p", "stop"]
    assert list(plain_sampling(PLAIN)) == first
    assert list(plain_sampling(replace(PLAIN, repetition_penalty=1, frequency_penalty=-0.0))) == first


@pytest.mark.parametrize("name", sorted(ADDED_SAMPLING))
def test_a_parameter_that_was_added_later_is_there_when_it_is_set(name: str) -> None:
    assert plain_sampling(replace(PLAIN, **{name: ADDED[name]})) == {**plain_sampling(PLAIN), name: ADDED[name]}
