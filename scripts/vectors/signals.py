"""Signals of poa-v3: their hash in a receipt, cosines, and the scores of rows."""

from typing import Any

from openledger_protocol.constants import COSINE_ONE, SIGNAL_SKETCH_BYTES
from openledger_protocol.signals import (
    Signals,
    poa_v3_scores,
    signal_cosine,
    signals_from_bytes,
    signals_hash,
)

from .common import Case, Rules, bytes_of, digest, hex_of

D, E = digest("d"), digest("e")
NUM_ACTIVATIONS = 8


def numbers(seed: int, count: int) -> bytes:
    """Signed bytes from −127 to 127, by a rule that is quick to write in any language."""
    return bytes((seed * 7_919 + place * place * 31 + place * seed * 17) % 255 - 127 & 0xFF for place in range(count))


def signals(error: int, label: int, activation: int) -> Signals:
    """Signals of which each is drawn by its own seed, so that those of equal seeds are equal."""
    return Signals(
        error=numbers(error, SIGNAL_SKETCH_BYTES),
        label=numbers(label, SIGNAL_SKETCH_BYTES),
        activation=numbers(activation, NUM_ACTIVATIONS),
    )


def flat(each: Signals) -> str:
    return hex_of(each.to_bytes())


def scored(text_scores: list[int], *rows: Signals, evidence_min: int = 0) -> dict[str, Any]:
    return {
        "evidence_min": str(evidence_min),
        "text_scores": [str(score) for score in text_scores],
        "answer": flat(signals(1, 2, 3)),
        "rows": [flat(row) for row in rows],
    }


SAME = signals(1, 2, 3)
OPPOSITE = bytes(-(byte - 256 if byte > 127 else byte) & 0xFF for byte in SAME.error)
HASHES: list[Case] = [
    ("none", "zero, for rules that read text alone", []),
    ("one", "error, label and activation, one after the other", [{"datanet_id": D, "signals": flat(SAME)}]),
    (
        "two",
        "ascending by Datanet",
        [{"datanet_id": D, "signals": flat(SAME)}, {"datanet_id": E, "signals": flat(signals(4, 5, 6))}],
    ),
    (
        "not ascending",
        "one order only",
        [{"datanet_id": E, "signals": flat(SAME)}, {"datanet_id": D, "signals": flat(SAME)}],
    ),
    ("too short", "a receipt's signals have both sketches", [{"datanet_id": D, "signals": "0x" + "01" * 512}]),
]
COSINES: list[Case] = [
    ("itself", "32,768", {"left": "0x7f81", "right": "0x7f81"}),
    ("the opposite", "nothing is negative", {"left": "0x7f81", "right": "0x817f"}),
    ("zero", "points nowhere", {"left": "0x0000", "right": "0x7f81"}),
    ("the lowest byte", "-128 is a number too", {"left": "0x8001", "right": "0x8002"}),
    ("at a right angle", "nothing", {"left": "0x0100", "right": "0x0001"}),
    ("rounded down", "3/5 of 32,768", {"left": "0x0304", "right": "0x0100"}),
    ("other lengths", "can't be compared", {"left": "0x01", "right": "0x0101"}),
]
SCORES: list[Case] = [
    ("the same signals", "text decides: 5 to 1", scored([100, 0], SAME, SAME)),
    ("some text", "a fraction of the evidence, rounded down", scored([100, 37], SAME, SAME)),
    ("no text", "signals decide alone", scored([0, 0], SAME, signals(4, 5, 6))),
    (
        "another output",
        "an error that points away earns nothing, whatever the text",
        scored([100], Signals(error=OPPOSITE, label=SAME.label, activation=SAME.activation)),
    ),
    ("large scores", "exact beyond 64 bits", scored([2**70, 2**69 + 1], SAME, SAME)),
    ("under the least evidence", "nothing, whatever the text", scored([100], SAME, evidence_min=COSINE_ONE**3)),
    (
        "over the least evidence",
        "what is over it counts",
        scored([100, 0], SAME, SAME, evidence_min=COSINE_ONE**3 - 2),
    ),
    ("not as many", "each row has its signals", scored([1, 2], SAME)),
]


def hash_of(given: Any) -> str:
    return signals_hash([(each["datanet_id"], signals_from_bytes(bytes_of(each["signals"]))) for each in given])


def cosine_of(given: Any) -> int:
    return signal_cosine(bytes_of(given["left"]), bytes_of(given["right"]))


def scores_of(given: Any) -> list[str]:
    answer, rows = given["answer"], given["rows"]
    found = poa_v3_scores(
        list(map(int, given["text_scores"])),
        signals_from_bytes(bytes_of(answer)),
        [signals_from_bytes(bytes_of(row)) for row in rows],
        int(given["evidence_min"]),
    )
    return [str(score) for score in found]


RULES: Rules = {
    "signals_hash": (hash_of, HASHES),
    "signal_cosine": (cosine_of, COSINES),
    "poa_v3_scores": (scores_of, SCORES),
}
