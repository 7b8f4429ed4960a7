"""A filter never forgets an id, and claims few that it never had."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.signed import digests

from openledger_protocol.bloom import check_filter, make_filter, may_hold
from openledger_protocol.constants import BLOOM_BYTES_MAX
from openledger_protocol.errors import MalformedError


def ids(count: int, word: str) -> list[str]:
    return ["0x" + hashlib.sha256(f"{word} {number}".encode()).hexdigest() for number in range(count)]


@given(st.lists(digests, max_size=60))
def test_a_filter_holds_what_it_was_made_of_in_any_order(held: list[str]) -> None:
    content = make_filter(held)
    assert all(may_hold(content, id) for id in held)
    assert make_filter([*reversed(held), *held]) == content
    assert check_filter(content) == content


@pytest.mark.parametrize(
    ("count", "bytes_max", "rate_max"),
    [(1, 9, 0.001), (10, 14, 0.03), (100, 126, 0.015), (400, 501, 0.015), (500, 512, 0.03), (1_000, 512, 0.16)],
)
def test_false_hits_are_as_rare_as_its_size_allows(count: int, bytes_max: int, rate_max: float) -> None:
    content = make_filter(ids(count, "held"))
    assert len(content) <= bytes_max <= BLOOM_BYTES_MAX
    assert all(may_hold(content, id) for id in ids(count, "held"))
    false_hits = sum(may_hold(content, id) for id in ids(5_000, "other"))
    assert false_hits / 5_000 <= rate_max


@pytest.mark.parametrize("content", [b"\x07", b"\0\xff", b"\x08\xff", b"\x01" * 513, "text", None], ids=repr)
def test_what_is_no_filter_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedError, match="a filter"):
        may_hold(content, "0x" + "1" * 64)


@pytest.mark.parametrize("num_hashes", [1, 7])
def test_a_filter_that_promises_everything_is_refused(num_hashes: int) -> None:
    for bits in (b"\xff" * 64, b"\x7f" * 64, b"\xff" * 31 + b"\x00" * 19):
        with pytest.raises(MalformedError, match="at most 60 percent of its bits set"):
            check_filter(bytes([num_hashes]) + bits)
    assert check_filter(bytes([num_hashes]) + b"\xff" * 30 + b"\x00" * 20)


@pytest.mark.parametrize("count", [1, 6, 7, 60, 408, 3_500, 6_000])
def test_no_number_of_ids_makes_a_filter_that_is_refused(count: int) -> None:
    held = ids(count, "held")
    content = make_filter(held)
    assert check_filter(content) == content
    assert all(may_hold(content, id) for id in held[:3_300])
