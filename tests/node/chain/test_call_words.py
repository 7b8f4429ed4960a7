"""Calls in words: each function that has words is there, and only calls that the words fully say are known."""

from typing import Any

import pytest
from support.signed import account

from openledger_node.chain.call_words import WORDS, describe_call
from openledger_node.chain.contracts import load_contract
from openledger_node.network_file import CONTRACTS
from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import Wei

ADDRESSES = {name: account(number) for number, name in enumerate(CONTRACTS, start=1)}
STRANGER = account(0x99)
OPEN = 10**18


def sample(parameter: dict[str, Any]) -> object:
    """A value of a parameter's type; an amount is one OPEN."""
    kind: str = parameter["type"]
    if kind.endswith("[]"):
        return []
    if kind == "tuple":
        return {each["name"]: sample(each) for each in parameter["components"]}
    if kind == "address":
        return ADDRESSES["NodeStaking"]
    if kind.startswith("bytes"):
        return "0x" + "11" * int(kind.removeprefix("bytes") or 1)
    return "lake" if kind == "string" else 1 if kind == "uint8" else OPEN if kind in ("uint128", "uint256") else 1


def call_of(contract: str, function: str, *arguments: object, **fields: Any) -> ContractCall:
    return ContractCall(to=ADDRESSES[contract], data=load_contract(contract).encode(function, *arguments), **fields)


@pytest.mark.parametrize(
    ("contract", "function"), [(contract, function) for contract in WORDS for function in WORDS[contract]]
)
def test_each_function_with_words_is_one_of_its_contract(contract: str, function: str) -> None:
    inputs = load_contract(contract)._function(function)["inputs"]
    found = describe_call(call_of(contract, function, *map(sample, inputs)), ADDRESSES)
    assert (found.contract, found.is_known) == (contract, True)
    assert ("1 OPEN" in found.text) == any(each["name"] in ("amount", "value") for each in inputs)


def test_a_function_without_words_is_named_with_its_arguments() -> None:
    found = describe_call(call_of("OpenToken", "delegate", STRANGER), ADDRESSES)
    assert (found.text, found.is_known) == (f"call OpenToken.delegate(delegatee {STRANGER})", False)


def test_coins_with_a_call_are_not_hidden_by_its_words() -> None:
    found = describe_call(call_of("NodeStaking", "withdraw", value_wei=Wei(OPEN)), ADDRESSES)
    assert (found.text, found.is_known) == (
        "send 1 coins and a call of 0x3ccfd60b… with 4 bytes to NodeStaking",
        False,
    )


def test_a_contract_that_this_version_does_not_ship_is_not_known() -> None:
    addresses = {**ADDRESSES, "Governor": STRANGER}
    found = describe_call(ContractCall(to=STRANGER, data=b"\x01\x02\x03\x04"), addresses)
    assert (found.text, found.contract, found.is_known) == (
        "send a call of 0x01020304… with 4 bytes to Governor",
        "Governor",
        False,
    )
