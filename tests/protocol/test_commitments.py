"""Commitments, each against the bytes written out by hand from the design."""

from typing import Any

import pytest
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st
from support.signed import digest, uints

from openledger_protocol.commitments import fingerprint, fingerprint_root
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import AdapterId, RequestId, Salt

SALT = Salt(digest("5"))
FINGERPRINT: dict[str, Any] = {
    "request_id": RequestId(digest("1")),
    "adapter_id": AdapterId(digest("2")),
    "profile_hash": digest("3"),
    "prompt_tokens": 14,
    "ids": (7, 8, 9),
    "salt": SALT,
}


def leaf(index: int, ids: list[int]) -> bytes:
    packed = b"".join(number.to_bytes(4, "big") for number in ids)
    return keccak(b"\x00" + index.to_bytes(4, "big") + len(ids).to_bytes(1, "big") + packed + b"\x00\x00")


def node(left: bytes, right: bytes) -> bytes:
    return keccak(b"\x01" + left + right)


@pytest.mark.parametrize(
    ("num_ids", "expected"),
    [
        (0, bytes(32)),
        (1, leaf(0, [0])),
        (32, leaf(0, list(range(32)))),
        (33, node(leaf(0, list(range(32))), leaf(1, [32]))),
        (65, node(node(leaf(0, list(range(32))), leaf(1, list(range(32, 64)))), leaf(2, [64]))),
    ],
)
def test_a_root_has_leaves_of_32_ids_and_an_odd_last_one_moves_up(num_ids: int, expected: bytes) -> None:
    assert fingerprint_root(range(num_ids)) == "0x" + expected.hex()


def test_a_fingerprint_is_what_the_design_writes() -> None:
    expected = keccak(
        b"openledger.fingerprint/1"
        + bytes.fromhex("11" * 32 + "22" * 32 + "33" * 32)
        + (14).to_bytes(4, "big")
        + (3).to_bytes(4, "big")
        + leaf(0, [7, 8, 9])
        + bytes.fromhex("55" * 32)
    )
    assert fingerprint(**FINGERPRINT) == "0x" + expected.hex()


@given(st.lists(uints(32), max_size=200), st.data())
def test_no_two_lists_of_ids_share_a_root(ids: list[int], data: st.DataObject) -> None:
    other = data.draw(st.lists(uints(32), max_size=200))
    assert (fingerprint_root(ids) == fingerprint_root(other)) == (ids == other)
    assert fingerprint_root(ids) != fingerprint_root([*ids, 0])


@pytest.mark.parametrize("token_id", [-1, 2**32])
def test_an_id_of_more_than_32_bits_is_refused(token_id: int) -> None:
    with pytest.raises(MalformedError, match="is no uint32"):
        fingerprint_root([token_id])
