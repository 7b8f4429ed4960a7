"""Words of contracts and endpoints that refuse, and of the calls that a vote can make."""

import inspect
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from support.signed import account

from openledger_node.chain.call_words import WORDS as CALL_WORDS
from openledger_node.chain.call_words import describe_call
from openledger_node.chain.client import Refusal
from openledger_node.chain.contracts import explain_revert, load_contract
from openledger_node.chain.refusals import WORDS, refusal_text
from openledger_node.chain.rpc_client import refusal_of
from openledger_node.network_file import CONTRACTS, WRAPPED_VOTES
from openledger_protocol.chain import ContractCall
from openledger_protocol.errors import RevertedError
from openledger_protocol.primitives import Wei

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
        (
            "MinimumStep",
            {"what": "minStake", "value": 100_000 * OPEN, "before": 1_000 * OPEN},
            "minStake can't move from 1,000 OPEN to 100,000 OPEN at once; at most double or halve it",
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


# ---- what endpoints mean by the words with which they do not take a transaction


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        ("already known", "known"),
        ("transaction already imported", "known"),
        ("AlreadyKnown", "known"),
        ("nonce too low: next nonce 5, tx nonce 3", "nonce_too_low"),
        ("OldNonce, Current nonce: 5, nonce of rejected tx: 3", "nonce_too_low"),
        ("replacement transaction underpriced", "underpriced"),
        ("max fee per gas less than block base fee: maxFeePerGas: 1, baseFee: 7", "underpriced"),
        ("FeeTooLow, MaxFeePerGas too low", "underpriced"),
        ("insufficient funds for gas * price + value: balance 0, tx cost 1", "no_funds"),
        ("Upfront cost exceeds account balance", "no_funds"),
        ("unknown transaction type 127", "other"),
    ],
)
def test_each_endpoints_words_mean_one_of_ours(message: str, refusal: Refusal) -> None:
    assert refusal_of(message) == refusal


# ---- calls in words: each function that has words is there, and only calls that the words fully say are known


ADDRESSES = {name: account(number) for number, name in enumerate((*CONTRACTS, WRAPPED_VOTES), start=1)}
STRANGER = account(0x99)


def sample(parameter: dict[str, Any]) -> object:
    """A value of a parameter's type; an amount is one OPEN."""
    kind: str = parameter["type"]
    if kind == "tuple":
        return {each["name"]: sample(each) for each in parameter["components"]}
    if kind == "bool":
        return True
    if kind == "address":
        return ADDRESSES["NodeStaking"]
    if kind.startswith("bytes"):
        return "0x" + "11" * int(kind.removeprefix("bytes") or 1)
    return "lake" if kind == "string" else 1 if kind == "uint8" else OPEN if kind in ("uint128", "uint256") else 1


def is_amount(parameter: dict[str, Any]) -> bool:
    """True for an amount, and for the values of Params, some of which are amounts."""
    is_values = parameter["name"] == "values" and parameter["type"] == "tuple"
    return is_values or parameter["name"] in ("amount", "value")


def call_of(contract: str, function: str, *arguments: object, **fields: Any) -> ContractCall:
    return ContractCall(to=ADDRESSES[contract], data=load_contract(contract).encode(function, *arguments), **fields)


def test_each_function_with_words_is_one_of_its_contract_and_its_words_tell_its_amounts() -> None:
    for contract, function in ((name, each) for name, words in CALL_WORDS.items() for each in words):
        inputs = load_contract(contract)._function(function)["inputs"]
        found = describe_call(call_of(contract, function, *map(sample, inputs)), ADDRESSES)
        assert (found.contract, found.is_known) == (contract, True), function
        assert ("1 OPEN" in found.text) == any(map(is_amount, inputs)), function


def test_a_function_without_words_is_named_with_its_arguments() -> None:
    found = describe_call(call_of("OpenToken", "transferFrom", STRANGER, STRANGER, 5), ADDRESSES)
    said = f"call OpenToken.transferFrom(from {STRANGER}, to {STRANGER}, value 5)"
    assert (found.text, found.is_known) == (said, False)


def test_coins_with_a_call_are_not_hidden_by_its_words() -> None:
    found = describe_call(call_of("OpenToken", "transfer", STRANGER, OPEN, value_wei=Wei(OPEN)), ADDRESSES)
    said = "send 1 coins and a call of 0xa9059cbb… with 68 bytes to OpenToken"
    assert (found.text, found.is_known) == (said, False)


def test_a_call_of_a_stranger_is_told_by_its_bytes() -> None:
    found = describe_call(ContractCall(to=STRANGER, data=b"\1\2\3\4"), ADDRESSES)
    assert (found.text, found.is_known) == (f"send a call of 0x01020304… with 4 bytes to {STRANGER}", False)
