"""What contracts refuse, in words."""

import inspect
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak

from openledger_node.chain.contracts import explain_revert, load_contract
from openledger_node.chain.refusals import WORDS, refusal_text
from openledger_node.network_file import CONTRACTS
from openledger_protocol.errors import RevertedError

OPEN = 10**18
ERRORS = [error for contract in CONTRACTS for error in load_contract(contract).errors]


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("InsufficientBond", {"bonded": 100 * OPEN, "amount": 2000 * OPEN}, "the stake is 100 OPEN, less than 2,000"),
        (
            "ShareStep",
            {"what": "dataPpm", "value": 300_000, "before": 200_000, "stepMax": 50_000},
            "dataPpm can't move from 200,000 to 300,000 ppm at once; change it by at most 50,000 ppm",
        ),
        ("BadSeq", {"seq": 3, "expected": 4}, "BadSeq (seq 3, expected 4)"),
        ("NothingClaimed", {}, "NothingClaimed"),
    ],
)
def test_a_refusal_is_told_in_words_where_there_are_some(name: str, arguments: dict[str, Any], words: str) -> None:
    assert refusal_text(name, arguments).startswith(words)


def test_each_error_with_words_is_a_contracts_with_so_many_values() -> None:
    for name, words in WORDS.items():
        counts = {len(error["inputs"]) for error in ERRORS if error["name"] == name}
        assert counts == {len(inspect.signature(words).parameters)}, name


def test_words_come_out_of_what_a_chain_says() -> None:
    selector = keccak(b"InsufficientBond(uint128,uint128)")[:4]
    error = RevertedError("reverted", data=selector + encode(["uint128", "uint128"], [OPEN, 2 * OPEN]))
    explained = explain_revert(error)
    assert explained.message == "the contract refuses: the stake is 1 OPEN, less than 2 OPEN; use a smaller amount"
    assert (explained.name, explained.arguments) == ("InsufficientBond", (OPEN, 2 * OPEN))
