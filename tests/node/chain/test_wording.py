"""What contracts refuse, in words."""

import inspect
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak

from openledger_node.chain.contracts import WORDS, explain_revert, load_contract, refusal_text
from openledger_node.network_file import CONTRACTS
from openledger_protocol.errors import RevertedError

OPEN = 10**18
ERRORS = [error for contract in CONTRACTS for error in load_contract(contract).errors]


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("InsufficientBond", {"bonded": 100 * OPEN, "amount": 2000 * OPEN}, "the stake is 100 OPEN, less than 2,000"),
        ("NothingMatured", {"now_": 1_795_709_850}, "no stake can be taken out yet, at 2026-11-2"),
        ("BadSeq", {"seq": 3, "expected": 4}, "BadSeq (seq 3, expected 4)"),
        ("NoItems", {}, "NoItems"),
    ],
)
def test_a_refusal_is_told_in_words_where_there_are_some(name: str, arguments: dict[str, Any], words: str) -> None:
    assert refusal_text(name, arguments).startswith(words)


@pytest.mark.parametrize("name", WORDS)
def test_each_error_with_words_is_a_contracts_with_so_many_values(name: str) -> None:
    shapes = {tuple(each["type"] for each in error["inputs"]) for error in ERRORS if error["name"] == name}
    (shape,) = shapes
    assert len(inspect.signature(WORDS[name]).parameters) == len(shape)


def test_words_come_out_of_what_a_chain_says() -> None:
    selector = keccak(b"InsufficientBond(uint128,uint128)")[:4]
    error = RevertedError("reverted", data=selector + encode(["uint128", "uint128"], [OPEN, 2 * OPEN]))
    explained = explain_revert(error)
    assert explained.message == "the contract refuses: the stake is 1 OPEN, less than 2 OPEN; use a smaller amount"
    assert (explained.name, explained.arguments) == ("InsufficientBond", (OPEN, 2 * OPEN))
