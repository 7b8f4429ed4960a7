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
        ("NothingMatured", {"now_": 1_795_709_850}, "no stake can be taken out yet, at 2026-11-2"),
        (
            "InPause",
            {"until": 1_795_709_850},
            "the guardian has paused new channels, draws and payments until 2026-11-2",
        ),
        ("ProposeOver", {"start": 1_795_709_850}, "the payout list comes too late for what was claimed at 2026-11-2"),
        ("NotOver", {"start": 1_795_709_850}, "the node still has time for a list that it owes since 2026-11-2"),
        ("DrawStands", {"drawBlock": 12_345}, "block 12,345 has drawn this claim's points, and they can still"),
        (
            "NoSeed",
            {"drawBlock": 12_345},
            "block 12,345, which draws this claim's points, is not mined yet or is more",
        ),
        ("NoSeed", {"drawBlock": 0}, "this claim's points are not drawn yet; the node draws them by itself after"),
        ("NoDrawsLeft", {"max": 5}, "this claim's points were drawn again 5 times, and its node's share pays for no"),
        (
            "NotShown",
            {"pot": 2, "account": "0x7", "offset": 9},
            "this receipt does not show the drawn place 9 of 0x7 in",
        ),
        ("StakeHeld", {"until": 1_795_709_850}, "a dispute holds this stake until 2026-11-2"),
        (
            "ShareStep",
            {"what": "dataPpm", "value": 300_000, "before": 200_000, "stepMax": 50_000},
            "dataPpm can't move from 200,000 to 300,000 ppm at once; change it by at most 50,000 ppm",
        ),
        ("SharesTooSoon", {"fromEpoch": 40}, "the shares can't change in epoch 40, because they changed in one of"),
        (
            "OutOfBounds",
            {"what": "draws", "value": 1, "min": 2, "max": 16},
            "draws is 1, but must be between 2 and 16; choose",
        ),
        ("BadSeq", {"seq": 3, "expected": 4}, "BadSeq (seq 3, expected 4)"),
        ("NothingClaimed", {}, "NothingClaimed"),
    ],
)
def test_a_refusal_is_told_in_words_where_there_are_some(name: str, arguments: dict[str, Any], words: str) -> None:
    assert refusal_text(name, arguments).startswith(words)


@pytest.mark.parametrize("name", WORDS)
def test_each_error_with_words_is_a_contracts_with_so_many_values(name: str) -> None:
    shapes = {tuple(each["type"] for each in error["inputs"]) for error in ERRORS if error["name"] == name}
    assert {len(inspect.signature(WORDS[name]).parameters)} == {len(shape) for shape in shapes}


def test_words_come_out_of_what_a_chain_says() -> None:
    selector = keccak(b"InsufficientBond(uint128,uint128)")[:4]
    error = RevertedError("reverted", data=selector + encode(["uint128", "uint128"], [OPEN, 2 * OPEN]))
    explained = explain_revert(error)
    assert explained.message == "the contract refuses: the stake is 1 OPEN, less than 2 OPEN; use a smaller amount"
    assert (explained.name, explained.arguments) == ("InsufficientBond", (OPEN, 2 * OPEN))
