"""A peer is its Ed25519 key, under the name that libp2p gives it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID

from openledger_protocol.errors import BadSignatureError, MalformedError
from openledger_protocol.peers import (
    check_peer_id,
    check_peer_signature,
    peer_id_from_public_key,
    public_key_from_peer_id,
    public_key_of,
    sign_as_peer,
)

SEED = b"\x07" * 32
KEY = public_key_of(SEED)
PEER_ID = peer_id_from_public_key(KEY)


@given(st.binary(min_size=32, max_size=32))
def test_ids_and_signatures_are_those_of_libp2p(seed: bytes) -> None:
    pair = create_new_key_pair(seed)
    assert peer_id_from_public_key(public_key_of(seed)) == ID.from_pubkey(pair.public_key).to_base58()
    assert sign_as_peer(seed, b"content") == pair.private_key.sign(b"content")


@given(st.binary(min_size=32, max_size=32))
def test_an_id_holds_its_key(key: bytes) -> None:
    peer_id = peer_id_from_public_key(key)
    assert peer_id.startswith("12D3Koo")
    assert public_key_from_peer_id(check_peer_id(peer_id)) == key


@pytest.mark.parametrize(
    "text",
    [
        *("", "12D3Koo", PEER_ID[:-1], PEER_ID + "1", " " + PEER_ID[1:], PEER_ID.lower(), "0" * 52, "é" * 52),
        *("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "1" * 52, "1" * 10_000_000, "z" * 52, None, KEY),
    ],
    ids=lambda text: repr(text)[:20],
)
def test_what_is_no_peer_id_is_refused(text: str) -> None:
    with pytest.raises(MalformedError, match="not a peer id"):
        check_peer_id(text)


def test_a_signature_counts_for_its_key_and_its_content_only() -> None:
    signature = sign_as_peer(SEED, b"content")
    check_peer_signature(KEY, b"content", signature)
    for key, content, signed in (
        (KEY, b"other", signature),
        (public_key_of(b"\x08" * 32), b"content", signature),
        (KEY, b"content", signature[:-1] + bytes([signature[-1] ^ 1])),
        (b"\xff" * 32, b"content", signature),
    ):
        with pytest.raises(BadSignatureError, match="not signed by peer 12D3Koo"):
            check_peer_signature(key, content, signed)


def test_keys_and_signatures_of_another_length_are_refused_and_a_private_one_is_not_shown() -> None:
    with pytest.raises(MalformedError, match="a peer's signature has 64 bytes"):
        check_peer_signature(KEY, b"", b"\x01" * 63)
    with pytest.raises(MalformedError, match="a peer's public key has 32 bytes"):
        check_peer_signature(KEY[:-1], b"", b"\x01" * 64)
    with pytest.raises(MalformedError, match="a peer's public key has 32 bytes"):
        peer_id_from_public_key(KEY + b"\0")
    with pytest.raises(MalformedError) as refused:
        sign_as_peer(b"\x41" * 31, b"")
    assert refused.value.message == "a peer's private key has 32 bytes"
