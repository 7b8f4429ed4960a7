"""One value, one sequence of bytes: RFC 8785 by its own sample, frames by every cut."""

import json
from dataclasses import dataclass
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger_protocol.codec import (
    CONTROL_FRAME_BYTES_MAX,
    LENGTH_BYTES,
    FrameDecoder,
    canonical_json,
    encode_frame,
)
from openledger_protocol.errors import MalformedError

# RFC 8785, section 3.2.2: the sample object, and in section 3.2.4 its bytes.
RFC_SAMPLE = {
    "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
    "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
    "literals": [None, True, False],
}
RFC_SAMPLE_BYTES = bytes.fromhex(
    "7b 22 6c 69 74 65 72 61 6c 73 22 3a 5b 6e 75 6c 6c 2c 74 72 75 65 2c 66 61 6c 73 65 5d 2c 22 6e 75 6d 62 65 72"
    "73 22 3a 5b 33 33 33 33 33 33 33 33 33 2e 33 33 33 33 33 33 33 2c 31 65 2b 33 30 2c 34 2e 35 2c 30 2e 30 30 32"
    "2c 31 65 2d 32 37 5d 2c 22 73 74 72 69 6e 67 22 3a 22 e2 82 ac 24 5c 75 30 30 30 66 5c 6e 41 27 42 5c 22 5c 5c"
    "5c 5c 5c 22 2f 22 7d"
)

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def test_the_sample_object_of_the_rfc_gets_the_bytes_of_the_rfc() -> None:
    assert canonical_json(RFC_SAMPLE) == RFC_SAMPLE_BYTES


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),  # both from appendix B of the RFC
        float("inf"),
        2**53,  # a double can't tell it from its neighbour
        -(2**53),
        {1: "key"},
        b"bytes",
        {"set": {1}},
        slice(1),
        "\ud800",
        # the library sorts keys before it checks them: another error of its own
        {"\ud800": 1},
    ],
    ids=repr,
)
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(MalformedError, match="not canonical JSON"):
        canonical_json(value)


def test_a_value_nested_too_deep_is_refused() -> None:
    # A stranger's adapter.json reaches this by its "training".
    value: list[Any] = []
    for _ in range(5_000):
        value = [value]
    with pytest.raises(MalformedError):
        canonical_json(value)


def test_dataclasses_and_tuples_are_written_as_objects_and_arrays_at_any_depth() -> None:
    @dataclass(frozen=True)
    class Leaf:
        b: int
        a: tuple[int, ...]

    assert canonical_json({"leaves": (Leaf(b=1, a=(2, 3)),)}) == b'{"leaves":[{"a":[2,3],"b":1}]}'


@given(JSON_VALUES)
def test_canonical_json_reads_back_as_the_same_value(value: Any) -> None:
    # As in JavaScript, where every number is a double.
    assert json.loads(canonical_json(value), parse_int=float) == value


def test_two_frames_cut_at_every_byte_come_out_whole_and_no_earlier() -> None:
    first, second = encode_frame({"t": "voucher", "n": 1}), encode_frame({"t": "ping"})
    sent = first + second
    for cut in range(len(sent) + 1):
        decoder = FrameDecoder()
        early = decoder.feed(sent[:cut])
        assert len(early) == (cut >= len(first)) + (cut >= len(sent))
        assert early + decoder.feed(sent[cut:]) == [{"t": "voucher", "n": 1}, {"t": "ping"}]


def test_a_frame_of_just_its_cap_passes_both_ways() -> None:
    size = len(encode_frame({"text": "x"})) - LENGTH_BYTES
    frame = encode_frame({"text": "x"}, size_bytes_max=size)
    assert FrameDecoder(size_bytes_max=size).feed(frame) == [{"text": "x"}]
    with pytest.raises(MalformedError, match="over its cap"):
        FrameDecoder(size_bytes_max=size - 1).feed(frame)


@pytest.mark.parametrize("size", [CONTROL_FRAME_BYTES_MAX + 1, 2**32 - 1])
def test_an_oversize_frame_is_told_by_its_length_alone(size: int) -> None:
    decoder = FrameDecoder(size_bytes_max=CONTROL_FRAME_BYTES_MAX)
    assert decoder.feed(size.to_bytes(LENGTH_BYTES, "big")[:3]) == []
    with pytest.raises(MalformedError, match=f"a frame of {size} bytes"):
        decoder.feed(size.to_bytes(LENGTH_BYTES, "big")[3:])


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",  # the one byte that msgpack never uses
        b"\x81",  # a map of one pair that is not there
        b"\xdf\xff\xff\xff\xff",  # a map of four billion pairs
        b"\xc6\xff\xff\xff\xff",  # four gigabytes of binary
        b"\x80\x80",  # two maps
        msgpack.packb([1]),
        msgpack.packb("text"),
        msgpack.packb(None),
        msgpack.packb({1: 1}),
        b"\x81\x91\x01\x01",  # a list as key
        b"\x81\xa1\xff\x01",  # a key that is no UTF-8
        b"\x81\xa1a\xa1\xff",  # a text that is no UTF-8
        b"\x81\xa1a" + b"\x91" * 5_000 + b"\x01",  # five thousand lists in each other
        msgpack.packb({b"t": 1}),  # strict_map_key lets bytes pass
    ],
    ids=lambda body: body[:12].hex() or "empty",
)
def test_a_body_that_is_no_map_of_texts_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedError, match="frame"):
        FrameDecoder().feed(framed(body))


@given(st.binary(max_size=64))
def test_garbage_is_read_or_refused_and_does_nothing_else(received: bytes) -> None:
    decoder = FrameDecoder()
    try:
        messages = decoder.feed(received)
    except MalformedError:
        return
    assert all(isinstance(message, dict) for message in messages)
