"""An advertisement counts once, in its time and network, and only with both keys behind it."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.offers import AD, IDS, NETWORK, NOW_S, PEER_ID, SEED
from support.signed import NODE, NODE_KEY, PAYER, SIGNER_KEY

from openledger_protocol.advertisement import (
    Advertisement,
    OfferedAdapter,
    SignedAdvertisement,
    _content,
    _sign,
    fit_advertisement,
    open_advertisement,
    read_signed,
    sign_advertisement,
    sign_binding,
)
from openledger_protocol.bloom import make_filter
from openledger_protocol.constants import AD_BYTES_MAX
from openledger_protocol.errors import (
    BadSignatureError,
    MalformedError,
    ProtocolError,
    StaleError,
)
from openledger_protocol.payments import Terms
from openledger_protocol.peers import peer_id_from_public_key, public_key_of
from openledger_protocol.primitives import AdapterId, Wei

CONTENT = sign_advertisement(AD, SEED)
OTHER_SEED = b"\x08" * 32
OTHER_PEER = peer_id_from_public_key(public_key_of(OTHER_SEED))

names = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)


def opened(content: bytes, **changes: Any) -> Advertisement:
    return open_advertisement(content, **{"network": NETWORK, "now_s": NOW_S, "seq_last": None, **changes})


def signed_body(body: bytes, seed: bytes = SEED) -> bytes:
    """Any bytes as an advertisement's body, rightly signed."""
    return _content(SignedAdvertisement(body=body, public_key=public_key_of(seed), signature=_sign(seed, body)))


def changed(path: str, value: Any) -> bytes:
    """`AD` with one field of its body set to another value, and signed."""
    fields: Any = msgpack.unpackb(read_signed(CONTENT).body)
    place, keys = fields, [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return signed_body(msgpack.packb(fields))


def test_it_counts_once_and_no_older_one_counts_after_it() -> None:
    assert opened(CONTENT, seq_last=6) == AD
    for seq_last in (7, 8, 2**64 - 1):
        with pytest.raises(StaleError, match=f"advertisement 7 of {PEER_ID} is not newer than its {seq_last}"):
            opened(CONTENT, seq_last=seq_last)


@pytest.mark.parametrize("lasts_s", [0, -1, 1_201, 10**9])
def test_it_can_not_be_made_to_last(lasts_s: int) -> None:
    ad = replace(AD, expires_s=AD.issued_s + lasts_s)
    with pytest.raises(MalformedError, match=f"good for 1 to 1200 s, not for {lasts_s}"):
        sign_advertisement(ad, SEED)
    with pytest.raises(MalformedError, match="good for 1 to 1200 s"):
        opened(changed("expires_s", max(0, AD.issued_s + lasts_s)))


@pytest.mark.parametrize(
    ("key", "network", "peer_id", "wallet"),
    [
        (NODE_KEY, NETWORK, PEER_ID, NODE),
        (SIGNER_KEY, "development-ffffffff", PEER_ID, NODE),
        (SIGNER_KEY, NETWORK, OTHER_PEER, NODE),
        (SIGNER_KEY, NETWORK, PEER_ID, PAYER),
    ],
    ids=["another key", "another network", "another peer", "another wallet"],
)
def test_a_peer_can_not_speak_for_a_wallet_whose_signer_did_not_say_so(
    key: bytes, network: str, peer_id: str, wallet: Any
) -> None:
    ad = replace(AD, binding=sign_binding(key, network, peer_id, wallet))
    with pytest.raises(BadSignatureError, match=f"the binding of {PEER_ID} to {NODE}: signed by"):
        opened(sign_advertisement(ad, SEED))


def test_a_binding_that_was_good_once_makes_no_other_one_good() -> None:
    """Bindings are remembered, since each advertisement of a peer has the same."""
    assert open_advertisement(CONTENT, network=NETWORK, now_s=NOW_S, seq_last=None) == AD
    forged = sign_binding(b"\x05" * 32, NETWORK, PEER_ID, AD.wallet)
    for changes in ({"binding": forged}, {"wallet": PAYER}, {"signer": PAYER}, {"binding": forged}):
        content = sign_advertisement(replace(AD, **changes), SEED)
        with pytest.raises(BadSignatureError, match="the binding of"):
            open_advertisement(content, network=NETWORK, now_s=NOW_S, seq_last=None)


def test_a_large_one_is_refused_and_can_be_fitted() -> None:
    warm = tuple(OfferedAdapter(id=AdapterId(id), name="x" * 40) for id in IDS[:16])
    ad = replace(AD, warm=warm, cold=make_filter(IDS[:400]), num_cold=400)
    with pytest.raises(MalformedError, match="over its cap of 2048: list less"):
        sign_advertisement(ad, SEED)
    fitted = fit_advertisement(ad)
    assert fitted == replace(ad, warm=warm[: len(fitted.warm)])
    assert len(fitted.warm) >= 8
    assert len(sign_advertisement(fitted, SEED)) <= AD_BYTES_MAX
    assert fit_advertisement(AD) == AD


def test_the_best_address_and_the_best_relay_are_dropped_last() -> None:
    addresses = tuple(f"/dns4/{number}{'x' * 110}/tcp/4001" for number in range(8))
    relays = tuple(f"/dns4/{number}{'x' * 55}/tcp/1/p2p/{OTHER_PEER}" for number in range(3))
    ad = replace(AD, addresses=addresses, relays=relays, cold=make_filter(IDS[:400]), num_cold=400)
    fitted = fit_advertisement(ad)
    assert len(sign_advertisement(fitted, SEED)) <= AD_BYTES_MAX
    assert (fitted.warm, fitted.relays) == ((), relays)
    assert fitted.addresses == addresses[: len(fitted.addresses)]
    assert fitted.addresses


def test_a_price_ceiling_is_not_below_the_floor_and_three_times_the_floor_unless_stated() -> None:
    terms = AD.terms
    assert AD.ceiling == Terms(price_in_wei=Wei(3 * terms.price_in_wei), price_out_wei=Wei(3 * terms.price_out_wei))
    stated = replace(AD, terms_max=terms)
    assert opened(sign_advertisement(stated, SEED)).ceiling == terms
    with pytest.raises(MalformedError, match="a price ceiling below its floor"):
        sign_advertisement(replace(AD, terms_max=replace(terms, price_in_wei=Wei(terms.price_in_wei - 1))), SEED)


@pytest.mark.parametrize(
    ("path", "value", "refusal"),
    [
        ("network", "a:b", "network: not a name"),
        ("peer_id", "12D3Koo", "peer_id: not a peer id"),
        ("addresses", ["/ip4"] * 9, "addresses: must be a list of 0 to 8"),
        ("addresses", ["ip4/1.2.3.4"], "addresses: must be a multiaddr"),
        ("addresses", ["/" + "x" * 128], "addresses: must be a multiaddr of at most 128 characters"),
        ("addresses", ["/ip4/1.2.3.4\n"], "addresses: a multiaddr holds visible ASCII only"),
        ("addresses", [b"/ip4"], "addresses: must be a multiaddr"),
        ("wallet", NODE, "wallet: must be 20 to 20 bytes"),
        ("base", b"\x01" * 31, "base: must be 32 to 32 bytes"),
        ("terms", {"price_in_wei": "1"}, "terms: price_out_wei is missing"),
        ("terms.price_in_wei", 1, "price_in_wei: must be an amount of wei"),
        ("warm", [{}] * 17, "warm: must be a list of 0 to 16"),
        ("warm.0.name", "a@b", "warm: name: not a name"),
        ("warm", [{"id": b"\x01" * 32, "name": "a"}] * 2, "names a warm adapter twice"),
        ("cold", b"\0", "cold: a filter begins with"),
        ("cold", "text", "cold: a filter has at most 512 bytes"),
        ("slots_free", -1, "slots_free: must be an integer of 32 bits"),
        ("serves", 1, "serves: must be true or false"),
        ("seq", 2**63 + 0.5, "seq: must be an integer of 64 bits"),
        ("binding", b"", "binding: a signature has 65 bytes"),
    ],
)
def test_a_field_that_is_not_as_written_is_refused_by_name(path: str, value: Any, refusal: str) -> None:
    with pytest.raises(MalformedError) as refused:
        opened(changed(path, value))
    assert refusal in str(refused.value)


@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_a_changed_byte_anywhere_makes_it_void(place: int, flip: int) -> None:
    content = bytearray(CONTENT)
    content[place] ^= flip
    with suppress(ProtocolError):
        # What may still pass changes nothing that counts: how msgpack writes the envelope.
        assert opened(bytes(content)) == AD


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    ),
    st.data(),
)
def test_a_strangers_body_is_read_or_refused_and_never_crashes(value: Any, data: st.DataObject) -> None:
    path = data.draw(
        st.sampled_from([*msgpack.unpackb(read_signed(CONTENT).body), "warm.0.id", "terms.price_in_wei"])
    )
    with suppress(ProtocolError):
        opened(changed(path, value))
