"""The streams `call`, `ads` and `dialback`: messages survive frames, and invalid fields are refused by name."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.offers import AD, BID, CALL, SEED, framed

from openledger_protocol.advertisement import sign_advertisement
from openledger_protocol.codec import DATA_FRAME_BYTES_MAX, encode_frame
from openledger_protocol.constants import AD_BYTES_MAX
from openledger_protocol.errors import MalformedError, ProtocolError, UnknownVersionError
from openledger_protocol.wire import ads, dialback, market
from openledger_protocol.wire.ads import ADS_MAX, DIGEST_BYTES, Ads, Bases, GetAds, GetBases, OfferedBase
from openledger_protocol.wire.dialback import Dialled, DialMe
from openledger_protocol.wire.frames import pack_map, unpack_map
from openledger_protocol.wire.inference import ErrorMessage
from openledger_protocol.wire.market import Lost, MarketMessage, Won

ERROR = ErrorMessage(code="overloaded", message="the queue is full", retryable=True)
MARKET: dict[str, MarketMessage] = {
    "call": CALL,
    "bid": BID,
    "won": Won(id=CALL.id),
    "lost": Lost(id=CALL.id, reason="another was cheaper"),
    "error": ERROR,
}
ADS: dict[str, ads.AdsMessage] = {
    "get": GetAds(base=AD.base, digest=bytes(DIGEST_BYTES), bucket_min=7, count_max=16),
    "ads": Ads(ads=(sign_advertisement(AD, SEED), b"")),
    "get_bases": GetBases(count_max=16),
    "bases": Bases(bases=(OfferedBase(base=AD.base, num_sellers=12, ad=b"x"),)),
    "error": ERROR,
}
DIALBACK: dict[str, dialback.DialbackMessage] = {
    "dial_me": DialMe(ports=(4_120,)),
    "dialled": Dialled(host="1.2.3.4", open=(4_120,)),
    "error": ERROR,
}
ALL: dict[Any, Any] = {market: MARKET, ads: ADS, dialback: DIALBACK}
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("protocol", ALL)
def test_each_message_has_its_name_and_version_and_requires_each_field(protocol: Any) -> None:
    for name, message in ALL[protocol].items():
        frame = framed(protocol.encode(message))
        assert (frame["v"], frame["t"]) == (1, name)
        assert protocol.decode({**frame, "later": {"x": 1}}) == message
        for key in set(frame) - {"v", "t"}:
            with pytest.raises(MalformedError, match=f"{name}: {key} is missing"):
                protocol.decode({other: value for other, value in frame.items() if other != key})


@pytest.mark.parametrize("decode", [market.decode, ads.decode, dialback.decode])
def test_another_version_and_an_unknown_message_are_refused_by_name(decode: Any) -> None:
    for version in (0, 2, 1.0, True, "1", None):
        with pytest.raises(UnknownVersionError, match=f"version {version!r}; here version 1 is spoken"):
            decode({"v": version, "t": "error"})
    for name in ("open", "", None, 1, ["call"]):
        with pytest.raises(MalformedError, match="a message has no t"):
            decode({"v": 1, "t": name})


@pytest.mark.parametrize(
    ("name", "field", "value", "refusal"),
    [
        ("call", "id", "0x12", "call: id: not a digest"),
        ("call", "adapter", None, "call: adapter: not a digest"),
        ("call", "tokens_max", 0, "call: tokens_max: must be over zero"),
        ("call", "tokens_in", 2**32, "call: tokens_in: must be an integer of 32 bits"),
        ("call", "price_in_max", 5, "call: price_in_max: must be an amount of wei"),
        ("call", "deadline_ms", 0, "call: deadline_ms: must be over zero"),
        ("bid", "wallet", "0x" + "g" * 40, "bid: wallet: not an address"),
        ("bid", "terms", {}, "bid: terms: price_in_wei is missing"),
        ("bid", "tokens_per_s", 0, "bid: tokens_per_s: must be over zero"),
        ("bid", "tokens_per_s", True, "bid: tokens_per_s: must be an integer of 32 bits"),
        ("bid", "ttft_ms", -1, "bid: ttft_ms: must be an integer of 32 bits"),
        ("bid", "is_warm", 1, "bid: is_warm: must be true or false"),
        ("lost", "reason", "x" * 201, "lost: reason: must be a text of at most 200 characters"),
    ],
)
def test_a_field_that_is_not_as_written_is_refused_by_name(name: str, field: str, value: Any, refusal: str) -> None:
    with pytest.raises(MalformedError) as refused:
        market.decode({**market.encode(MARKET[name]), field: value})
    assert refusal in str(refused.value)


def test_a_list_of_advertisements_is_bounded_and_fits_its_frame() -> None:
    full = Ads(ads=(b"\xff" * AD_BYTES_MAX,) * ADS_MAX)
    assert len(encode_frame(ads.encode(full))) < DATA_FRAME_BYTES_MAX
    assert ads.decode(framed(ads.encode(full))) == full
    for value in ([b""] * (ADS_MAX + 1), [b"\0" * (AD_BYTES_MAX + 1)], ["text"], b""):
        with pytest.raises(MalformedError, match="ads: ads: must be"):
            ads.decode({"v": 1, "t": "ads", "ads": value})


@given(anything, st.data())
def test_a_strangers_frame_is_read_or_refused_and_never_crashes(value: Any, data: st.DataObject) -> None:
    for protocol, messages in ((market, MARKET), (ads, ADS)):
        frame = framed(protocol.encode(messages[data.draw(st.sampled_from(sorted(messages)))]))  # type: ignore[arg-type]
        frame[data.draw(st.sampled_from(sorted(frame)))] = value
        with suppress(ProtocolError):
            protocol.decode(frame)


@given(st.binary(max_size=100))
def test_a_map_without_a_stream_is_read_whole_or_refused(content: bytes) -> None:
    with suppress(ProtocolError):
        assert isinstance(unpack_map(content), dict)
    with pytest.raises(MalformedError):
        unpack_map(pack_map({"a": 1}) + b"\0" + content)
    with pytest.raises(MalformedError, match="over its cap of 8"):
        pack_map({"a": b"12345678"}, size_bytes_max=8)
