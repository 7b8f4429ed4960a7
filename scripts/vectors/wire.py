"""The infer stream's frames, byte by byte; and frames that are refused."""

from typing import Any

from openledger_protocol.codec import FrameDecoder, encode_frame
from openledger_protocol.wire.inference import decode, encode

from .common import AUTHORIZER, NODE, PAYER, Case, Rules, account, bytes_of, digest, hex_of, write

SIGNATURE = "0x" + "01" * 64 + "1b"
VOUCHER = {
    "channel_id": digest("1"),
    "adapter_id": digest("4"),
    "max_claimable_wei": str(2**128 - 1),
    "signature": SIGNATURE,
}
SAMPLING = {
    "max_tokens": 64,
    "seed": str(2**64 - 1),
    "temperature": 0.5,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "stop": ["\n"],
}
OPEN = {
    "v": 1,
    "t": "open",
    "id": digest("2"),
    "award": {"base": digest("3"), "terms": {"price_in_wei": "1000", "price_out_wei": "2000"}, "tokens_max": 64},
    "adapter": digest("4"),
    "messages": [{"role": "user", "content": "Wo liegt der Hafen €?"}],
    "sampling": SAMPLING,
    "channel_config": {
        "payer": PAYER,
        "authorizer": AUTHORIZER,
        "node": NODE,
        "withdraw_delay_s": 40,
        "salt": digest("5"),
    },
    "voucher": VOUCHER,
    "salts": {"prompt": digest("7"), "output": digest("8"), "fingerprint": digest("9")},
    "prefix": "",
    "last_receipt": None,
}
ADDED_SAMPLING = {
    "frequency_penalty": 0.5,
    "presence_penalty": -1.5,
    "repetition_penalty": 1.25,
    "logprobs": 0,
    "json_schema": '{"type":"object"}',
}
OPEN_WITH_MORE = {**OPEN, "sampling": {**SAMPLING, **ADDED_SAMPLING}}
CALL = {"id": "call_1", "name": "get_weather", "arguments": '{"town":"Turku"}'}
OPEN_WITH_TOOLS = {
    **OPEN,
    "messages": [
        {"role": "user", "content": "Is it raining in Turku?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "rain", "tool_call_id": "call_1"},
    ],
    "tooling": {
        "tools": [
            {"name": "get_weather", "description": "The weather of a town.", "parameters": '{"type":"object"}'},
        ],
    },
}
REQUIRED = {**OPEN_WITH_TOOLS["tooling"], "choice": "required", "name": "get_weather", "parallel": False}
CHUNK = {"v": 1, "t": "chunk", "text": "Am Fluß", "ids": [0, 2**32 - 1], "tokens": 2, "cumulative": "7"}
RECEIPT = {
    "v": 1,
    "t": "receipt",
    "receipt": {
        "channel_id": digest("1"),
        "seq": str(2**64 - 1),
        "issued_at_s": str(2**64 - 2),
        "adapter_id": digest("4"),
        "amount_wei": "1",
        "cumulative_wei": "2",
        "algo_id": 1,
        "shares_hash": digest("7"),
        "work": {
            "request_id": digest("2"),
            "profile_hash": digest("8"),
            "index_root": digest("9"),
            "tokens_in": 9,
            "tokens_out": 2,
            "prompt_commit": digest("a"),
            "output_commit": digest("b"),
            "retrieval_hash": digest("0"),
            "signals_hash": digest("e"),
            "fingerprint": digest("c"),
        },
    },
    "signature": SIGNATURE,
    "shares": [{"datanet_id": digest("d"), "account": account(1), "ppm": 1_000_000}],
}
RECEIPT_WITH_SIGNALS = {**RECEIPT, "signals": [{"datanet_id": digest("d"), "vectors": "0x" + "05" * 576}]}
OPEN_AGAIN = {**OPEN, "last_receipt": {"receipt": RECEIPT["receipt"], "signature": SIGNATURE}}
PING = {"v": 1, "t": "ping"}
ASK = {
    "v": 1,
    "t": "ask",
    "channel_config": OPEN["channel_config"],
    "ids": [digest("2"), digest("6")],
    "asked_at_s": str(2**64 - 1),
    "signature": SIGNATURE,
}

FRAMES: list[Case] = [
    ("open", "the payer's first message; 64-bit numbers stand as text here and as integers in the frame", OPEN),
    ("open with a raw text", "messages may be a text", {**OPEN, "messages": "Once"}),
    ("open with parameters that were added later", "absent at their defaults", OPEN_WITH_MORE),
    ("open with tools", "turns with calls and results; the choice is absent at its default", OPEN_WITH_TOOLS),
    ("open with one tool that must be called", "once", {**OPEN_WITH_TOOLS, "tooling": REQUIRED}),
    ("open on a channel with receipts", "the newest one that the payer has", OPEN_AGAIN),
    ("voucher", "a higher ceiling", {"v": 1, "t": "voucher", "voucher": VOUCHER}),
    (
        "voucher that says what it pays for",
        "tokens of this answer that are paid; absent without a limit of the stream's own",
        {"v": 1, "t": "voucher", "voucher": VOUCHER, "tokens_paid": 96},
    ),
    ("open that says what it pays for", "the first chunk", {**OPEN, "tokens_paid": 32}),
    ("chunk", "ids include those whose text is held back", CHUNK),
    ("receipt", "the node's last word", RECEIPT),
    ("receipt by poa-v3", "with the signals that it commits to, beside each Datanet", RECEIPT_WITH_SIGNALS),
    ("countersign", "over the receipt's digest", {"v": 1, "t": "countersign", "signature": SIGNATURE}),
    (
        "error",
        "a refusal",
        {"v": 1, "t": "error", "code": "overloaded", "message": "the queue is full", "retryable": True},
    ),
    ("ping", "still here", PING),
    ("ask", "for receipts that did not come", ASK),
    ("missing", "the end of the receipts; none of these is made", {"v": 1, "t": "missing", "ids": [digest("6")]}),
    ("missing nothing", "all receipts were shown, or are being made", {"v": 1, "t": "missing", "ids": []}),
]
BYTES = ("signature", "vectors")
LONG_NUMBERS = ("seed", "seq", "issued_at_s", "asked_at_s", "withdraw_delay_s")


def unwritten(value: Any) -> Any:
    """Convert JSON to the content of a frame: signatures are bytes, and long numbers are integers."""
    if isinstance(value, list):
        return [unwritten(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    fields = {key: unwritten(entry) for key, entry in value.items()}
    fields.update({key: bytes_of(fields[key]) for key in BYTES if key in fields})
    fields.update({key: int(fields[key]) for key in LONG_NUMBERS if key in fields})
    return fields


READ: list[Case] = [
    ("unknown key", "is ignored", hex_of(encode_frame({**PING, "later": 1}))),
    (
        "unknown key of sampling",
        "is refused: to ignore it might be another answer",
        hex_of(encode_frame(unwritten({**OPEN, "sampling": {**SAMPLING, "later": 1}}))),
    ),
    ("unknown t", "is refused", hex_of(encode_frame({**PING, "t": "pong"}))),
    ("no t", "is refused", hex_of(encode_frame({"v": 1}))),
    ("version 2", "is refused by name", hex_of(encode_frame({**PING, "v": 2}))),
    ("no version", "is refused by name", hex_of(encode_frame({"t": "ping"}))),
    ("wei as a number", "wei is decimal text", hex_of(encode_frame({**CHUNK, "cumulative": 7}))),
    ("wei with a leading zero", "one amount, one text", hex_of(encode_frame({**CHUNK, "cumulative": "07"}))),
    ("true for a number", "is none", hex_of(encode_frame({**CHUNK, "tokens": True}))),
    ("a missing field", "each is required", hex_of(encode_frame({k: v for k, v in CHUNK.items() if k != "ids"}))),
    ("ask for nothing", "it names at least one request", hex_of(encode_frame(unwritten({**ASK, "ids": []})))),
    (
        "ask for nine",
        "it names 8 requests at most",
        hex_of(encode_frame(unwritten({**ASK, "ids": [digest("2")] * 9}))),
    ),
    ("an id of 33 bits", "over its bound", hex_of(encode_frame({**CHUNK, "ids": [2**32]}))),
]


def frame_of(given: Any) -> str:
    return hex_of(encode_frame(encode(decode(unwritten(given)))))


def read_back(frame: str) -> Any:
    [fields] = FrameDecoder().feed(bytes_of(frame))
    return write(encode(decode(fields)))


RULES: Rules = {
    "infer_frame": (frame_of, FRAMES),
    "decode_infer_frame": (read_back, [*((name, why, frame_of(given)) for name, why, given in FRAMES), *READ]),
}
