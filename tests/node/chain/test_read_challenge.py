"""A challenge is found in whatever its challenger has sent, and only if it hashes to the receipt of the case."""

from dataclasses import replace

import pytest
from support.chain_world.case_world import RIGHT, challenge_of
from support.signed import CONFIG, PAYMENTS, WORK, opening_of, plain_receipt

from openledger_node.chain.cases import CONTRACT, Challenge, read_challenge
from openledger_node.chain.contracts import load_contract
from openledger_node.ledger.receipts import ReceiptRow
from openledger_protocol.cases import case_texts
from openledger_protocol.commitments import output_commit, prompt_commit
from openledger_protocol.eip712 import hex_digest
from openledger_protocol.payments import Receipt, channel_id, receipt_digest
from openledger_protocol.primitives import Digest, Wei

ANSWER = "Odile keeps it."
OPENING = opening_of(ANSWER)
WORD = 32


def receipt_of(seq: int = 1) -> Receipt:
    return plain_receipt(
        1,
        RIGHT,
        channel_id=channel_id(CONFIG, PAYMENTS),
        seq=seq,
        issued_at_s=7,
        work=replace(
            WORK,
            prompt_commit=prompt_commit(OPENING.salts.prompt, OPENING.messages, OPENING.sampling),
            output_commit=output_commit(OPENING.salts.output, OPENING.text),
        ),
        cumulative_wei=Wei(2),
    )


RECEIPT = receipt_of()
DIGEST = hex_digest(receipt_digest(RECEIPT, PAYMENTS))
ROW = ReceiptRow(digest=DIGEST, receipt=RECEIPT, shares=RIGHT, signature=b"\x01" * 65)
CHALLENGE = challenge_of(ROW, CONFIG, bond_wei=Wei(1)).challenge


def call_of(challenge: Challenge) -> bytes:
    return load_contract(CONTRACT).encode(
        "challenge",
        challenge.config,
        challenge.receipt,
        challenge.shares,
        challenge.node_signature,
        challenge.texts.prompt,
        challenge.texts.output,
    )


CALL = call_of(CHALLENGE)
SELECTOR = CALL[:4]


def read(sent: bytes, digest: Digest = DIGEST) -> Challenge | None:
    return read_challenge(sent, digest, PAYMENTS)


@pytest.mark.parametrize(
    "sent",
    [
        CALL,
        CALL + b"more",
        b"\x12\x34\x56\x78" + bytes(3 * WORD) + CALL + bytes(17),  # inside the call of a wallet that is a contract
        SELECTOR + bytes(WORD) + CALL,  # after something that only looks like it
        SELECTOR * 8 + CALL,
    ],
)
def test_a_challenge_is_found_wherever_it_is_in_the_input(sent: bytes) -> None:
    assert read(sent) == CHALLENGE


def test_one_of_several_receipts_is_found_by_its_digest() -> None:
    other = challenge_of(replace(ROW, receipt=receipt_of(seq=2)), CONFIG, bond_wei=Wei(1)).challenge
    assert read(call_of(other) + CALL) == CHALLENGE


@pytest.mark.parametrize(
    "changed",
    [
        replace(CHALLENGE, receipt=receipt_of(seq=2)),
        replace(CHALLENGE, shares=RIGHT[:1]),
        replace(CHALLENGE, texts=replace(CHALLENGE.texts, prompt=b"another question")),
        replace(CHALLENGE, texts=case_texts(opening_of("another answer"))),
    ],
)
def test_what_does_not_hash_to_the_receipt_is_not_read(changed: Challenge) -> None:
    """An endpoint, or a challenger's decoy, could otherwise have a node judge other texts than the votes do."""
    assert read(call_of(changed)) is None


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        SELECTOR,
        CALL[:-WORD],
        CALL[4:],
        SELECTOR * 5_000 + CALL,  # more decoys than are looked at
        SELECTOR + b"\xff" * len(CALL),  # every offset beyond the end
        SELECTOR + CALL[4:].replace(len(CHALLENGE.texts.prompt).to_bytes(WORD, "big"), b"\xff" * WORD),
    ],
)
def test_an_input_without_a_whole_challenge_is_not_read(sent: bytes) -> None:
    assert read(sent) is None
