"""The infer stream: each message survives its frame, and what is not as written is refused by its field."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.signed import CONFIG, account, digest, plain_receipt

from openledger_protocol.attribution import Share
from openledger_protocol.codec import CONTROL_FRAME_BYTES_MAX, FrameDecoder, encode_frame
from openledger_protocol.errors import (
    MalformedError,
    OverloadedError,
    PaymentRequiredError,
    PeerError,
    ProtocolError,
    RevertedError,
)
from openledger_protocol.inference import Message, SamplingParams, Tool, ToolCall, Tooling
from openledger_protocol.payments import SignedVoucher, Terms, Voucher
from openledger_protocol.primitives import AdapterId, ChannelId, DatanetId, RequestId, Salt, Wei
from openledger_protocol.wire.inference import (
    ERROR_LENGTH_MAX,
    AskReceipts,
    Award,
    Chunk,
    Countersign,
    ErrorMessage,
    InferenceMessage,
    MissingReceipts,
    Open,
    Ping,
    ReceiptMessage,
    Salts,
    VoucherMessage,
    decode,
    encode,
    error_from_message,
    error_message,
)

SIGNATURE = b"\x01" * 64 + b"\x1b"
VOUCHER = SignedVoucher(
    voucher=Voucher(
        channel_id=ChannelId(digest("1")), adapter_id=AdapterId(digest("4")), max_claimable_wei=Wei(2**128 - 1)
    ),
    signature=SIGNATURE,
)
OPEN = Open(
    id=RequestId(digest("2")),
    award=Award(base=digest("3"), terms=Terms(price_in_wei=Wei(10**15), price_out_wei=Wei(2)), tokens_max=64),
    adapter=AdapterId(digest("4")),
    messages=(Message(role="user", content="Wo liegt der Hafen?"),),
    sampling=SamplingParams(max_tokens=64, seed=2**64 - 1, temperature=0.5, stop=("\n", "€")),
    channel_config=CONFIG,
    voucher=VOUCHER,
    salts=Salts(prompt=Salt(digest("6")), output=Salt(digest("7")), fingerprint=Salt(digest("8"))),
    prefix="",
)
RECEIPT = plain_receipt(
    1,
    channel_id=ChannelId(digest("1")),
    seq=2**64 - 1,
    issued_at_s=2**64 - 1,
    adapter_id=AdapterId(digest("4")),
    shares_hash=digest("6"),
    cumulative_wei=Wei(2),
)
SHARES = (Share(datanet_id=DatanetId(digest("d")), account=account(1), ppm=1_000_000),)
TOOLING = Tooling(
    tools=(Tool(name="get_weather", description="The weather of a town.", parameters='{"type":"object"}'),),
    choice="required",
    name="get_weather",
    parallel=False,
)
CALL = ToolCall(id="call_1", name="get_weather", arguments='{"town":"Turku"}')
OPEN_WITH_TOOLS = replace(
    OPEN,
    messages=(
        *OPEN.messages,
        Message(role="assistant", content="", tool_calls=(CALL,)),
        Message(role="tool", content="rain", tool_call_id="call_1"),
    ),
    tooling=TOOLING,
)
MESSAGES: dict[str, InferenceMessage] = {
    "open": OPEN,
    "tools": OPEN_WITH_TOOLS,
    "voucher": VoucherMessage(voucher=VOUCHER),
    "chunk": Chunk(text="Am Fluß", ids=(0, 2**32 - 1), tokens=2, cumulative=Wei(7)),
    "receipt": ReceiptMessage(receipt=RECEIPT, signature=SIGNATURE, shares=SHARES),
    "countersign": Countersign(signature=SIGNATURE),
    "error": ErrorMessage(code="overloaded", message="the queue is full", retryable=True),
    "ping": Ping(),
    "ask": AskReceipts(
        channel_config=CONFIG, ids=(RequestId(digest("2")),), asked_at_s=2**64 - 1, signature=SIGNATURE
    ),
    "missing": MissingReceipts(ids=(RequestId(digest("2")),)),
}


def changed(message: InferenceMessage, path: str, value: Any) -> dict[str, Any]:
    """The frame of `message` with the field at `a.b.0.c` set to another value."""
    frame: Any = decode_frame(encode_frame(encode(message)))
    place, keys = frame, [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return frame  # type: ignore[no-any-return]  # a frame is a map


def decode_frame(received: bytes) -> dict[str, Any]:
    [frame] = FrameDecoder().feed(received)
    return frame


@pytest.mark.parametrize("name", ["voucher", "chunk", "receipt", "countersign", "ping"])
def test_what_is_sent_while_an_answer_runs_fits_a_control_frame(name: str) -> None:
    assert len(encode_frame(encode(MESSAGES[name]))) < CONTROL_FRAME_BYTES_MAX // 32


def test_unknown_keys_are_ignored_at_every_depth() -> None:
    frame = changed(OPEN, "later", 1)
    frame["award"]["later"] = {"x": 1}
    frame["messages"][0]["later"] = None
    frame["voucher"]["later"] = b""
    assert decode(frame) == OPEN


@pytest.mark.parametrize(
    ("message", "path", "value", "refusal"),
    [
        ("open", "id", "0x12", "open: id: not a digest"),
        ("open", "id", b"\x01" * 32, "open: id: not a digest"),
        ("open", "award", [], "open: award: must be a map"),
        ("open", "award.terms.price_in_wei", 5, "open: award: terms: price_in_wei: must be an amount of wei"),
        ("open", "award.tokens_max", 2**32, "tokens_max: must be an integer of 32 bits"),
        ("open", "award.tokens_max", True, "tokens_max: must be an integer of 32 bits"),
        ("open", "messages", [], "messages: must be a list of 1 to 1024"),
        ("open", "messages.0.role", "critic", "role: must be one of system, user, assistant, tool"),
        ("open", "messages.0.role", "tool", "messages: messages[0]: tool_call_id must be 1 to 256 characters"),
        ("tools", "tooling.choice", "any", "tooling: choice: must be one of auto, none, required"),
        ("tools", "tooling.name", "get_time", "tooling: tool_choice names 'get_time', which is not in tools"),
        ("tools", "tooling.later", 1, "open: tooling: 'later' is not known to this node"),
        ("tools", "tooling.tools.0.strict", True, "tooling: tools: 'strict' is not known to this node"),
        ("tools", "tooling.tools", [], "tooling: tools: must be a list of 1 to 128"),
        ("tools", "tooling.tools.0.parameters", "{", "tooling: tools[0]: parameters must be JSON text"),
        ("tools", "tooling", [], "open: tooling: must be a map"),
        ("tools", "messages.1.tool_calls.0.arguments", "[]", "messages[1]: arguments must be a JSON object"),
        ("open", "messages.0.content", 1, "content: must be a text of at most 1048576 characters"),
        ("open", "messages", "\ud800", "messages: a text holds half a surrogate pair"),
        ("open", "sampling.temperature", "1", "temperature: must be a number"),
        ("open", "sampling.temperature", float("nan"), "sampling: temperature must be from 0 to 2"),
        ("open", "sampling.max_tokens", 0, "sampling: max_tokens must be at least 1"),
        ("open", "sampling.seed", 2**64, "seed: must be an integer of 64 bits"),
        ("open", "sampling.stop", ["x"] * 17, "stop: must be a list of 0 to 16"),
        ("open", "sampling.later", 1, "open: sampling: 'later' is not known to this node"),
        ("open", "sampling.logprobs", None, "logprobs: must be an integer of 8 bits"),
        ("open", "channel_config.payer", "0x" + "g" * 40, "payer: not an address"),
        ("open", "channel_config.withdraw_delay_s", 2**64, "withdraw_delay_s: must be an integer of 64 bits"),
        ("open", "voucher.signature", b"", "voucher: signature: a signature has 65 bytes"),
        ("open", "voucher.signature", SIGNATURE.hex(), "voucher: signature: a signature has 65 bytes"),
        ("open", "voucher.max_claimable_wei", str(2**128), "max_claimable_wei: must be an amount of wei"),
        ("open", "prefix", None, "prefix: must be a text"),
        ("voucher", "voucher", None, "voucher: voucher: must be a map"),
        ("chunk", "text", "x" * (2**20 + 1), "chunk: text: must be a text of at most 1048576 characters"),
        ("chunk", "ids", [0] * 4_097, "chunk: ids: must be a list of 0 to 4096"),
        *(
            ("chunk", "cumulative", text, "chunk: cumulative: must be an amount of wei as decimal text")
            for text in (7, "", "07", "+7", "-7", "7.0", "1e3", "٧", " 7", "7\n", "9" * 40)
        ),
        ("receipt", "receipt.work.tokens_in", None, "receipt: work: tokens_in: must be an integer of 32 bits"),
        ("receipt", "receipt.work.fingerprint", "0x" + "A" * 64, "fingerprint: not a digest"),
        ("receipt", "shares.0.ppm", 2**32, "shares: ppm: must be an integer of 32 bits"),
        ("receipt", "shares", [{}] * 257, "shares: must be a list of 0 to 256"),
        ("receipt", "signature", b"\x01" * 65, "receipt: signature: a signature's v is 27 or 28"),
        ("receipt", "receipt.issued_at_s", 1.0, "receipt: issued_at_s: must be an integer of 64 bits"),
        ("error", "message", "x" * 1_001, "error: message: must be a text of at most 1000 characters"),
        ("error", "retryable", "no", "error: retryable: must be true or false"),
    ],
)
def test_a_field_that_is_not_as_written_is_refused_by_name(message: str, path: str, value: Any, refusal: str) -> None:
    with pytest.raises(MalformedError) as refused:
        decode(changed(MESSAGES[message], path, value) if value != "\ud800" else {**encode(OPEN), path: value})
    assert refusal in str(refused.value)


@pytest.mark.parametrize("name", [name for name in MESSAGES if name != "ping"])
def test_each_field_of_each_message_is_required(name: str) -> None:
    frame = decode_frame(encode_frame(encode(MESSAGES[name])))
    for key in set(frame) - {"v", "t", "tooling"}:
        with pytest.raises(MalformedError, match=f"{frame['t']}: {key} is missing"):
            decode({other: value for other, value in frame.items() if other != key})


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=5), st.lists),
    st.data(),
)
def test_a_strangers_frame_is_read_or_refused_and_never_crashes(value: Any, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(MESSAGES)))
    frame = decode_frame(encode_frame(encode(MESSAGES[name])))
    frame[data.draw(st.sampled_from(sorted(frame)))] = value
    with suppress(ProtocolError):
        decode(frame)


def test_a_refusal_crosses_the_wire_as_its_own_class() -> None:
    for error in (OverloadedError("full"), PaymentRequiredError("more"), RevertedError("no"), MalformedError("what")):
        back = error_from_message(error_message(error))
        assert (type(back), back.message, back.retryable) == (type(error), error.message, error.retryable)


def test_a_refusal_with_a_code_of_a_later_version_is_a_peers() -> None:
    error = error_from_message(ErrorMessage(code="from_the_future", message="wait", retryable=True))
    assert (type(error), error.message) == (PeerError, "wait")
    assert error.values == {"code": "from_the_future", "retryable": True}


def test_a_long_refusal_is_cut_to_what_may_be_sent() -> None:
    message = error_message(MalformedError("x" * 5_000))
    assert len(message.message) == ERROR_LENGTH_MAX
    assert decode(encode(message)) == message


def test_an_address_in_lower_case_is_given_its_checksum() -> None:
    frame = changed(OPEN, "channel_config.node", CONFIG.node.lower())
    assert decode(frame) == replace(OPEN, channel_config=CONFIG)
