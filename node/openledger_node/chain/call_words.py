"""Calls that a vote can make, in words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from openledger_protocol.chain import ContractCall
from openledger_protocol.governance import PARAM_SPECS
from openledger_protocol.primitives import Address

from ..network_file import CONTRACTS, WRAPPED_VOTES
from .contracts import load_contract
from .param_words import param_text
from .refusals import coins_text, open_text

SELECTOR_HEX: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class CallText:
    """A call in words."""

    text: str
    contract: str | None  # of the network; None for any other target
    is_known: bool  # True if the words say all that the call does


Words = Callable[[dict[str, Any]], str]

WORDS: Final[Mapping[str, Mapping[str, Words]]] = {
    "OpenToken": {
        "approve": lambda given: f"let {given['spender']} take {open_text(given['value'])}",
        "transfer": lambda given: f"send {open_text(given['value'])} to {given['to']}",
        "delegate": lambda given: f"let {given['delegatee']} vote with the OPEN of the sender",
    },
    "Params": {
        "set": lambda given: f"set the network's values: {_values(given['values'])}",
    },
    "NodeStaking": {
        "slash": lambda given: (
            f"burn {open_text(given['amount'])} of the stake of {given['node']}, or what there is; "
            f"the evidence hashes to {given['evidence']}"
        ),
    },
    "PaymentChannels": {
        "resumeDeposits": lambda _: "end the guardian's stop of new deposits",
    },
}
"""By contract and function; each function takes the call's arguments by name."""


def describe_call(call: ContractCall, contracts: Mapping[str, Address]) -> CallText:
    """Describe a call of one of these contracts, or of a target that this node does not know."""
    name = next((name for name, address in contracts.items() if address == call.to), None)
    found = load_contract(name).decode_call(call.data) if name in (*CONTRACTS, WRAPPED_VOTES) else None
    if name is None or found is None or call.value_wei:
        return CallText(text=f"send {_content(call)} to {name or call.to}", contract=name, is_known=False)
    function, arguments = found
    words = WORDS.get(name, {}).get(function)
    if words is None:
        shown = ", ".join(f"{key} {value}" for key, value in arguments.items())
        return CallText(text=f"call {name}.{function}({shown})", contract=name, is_known=False)
    return _in_words(name, words(arguments), arguments.get("spender"), contracts)


def _in_words(name: str, text: str, spender: Any, contracts: Mapping[str, Address]) -> CallText:
    """Name the contract that may take OPEN, because an approval of anybody else gives the OPEN away."""
    names = {address: contract for contract, address in contracts.items()}
    is_known = spender is None or spender in names
    return CallText(
        text=text.replace(spender, names[spender]) if spender in names else text, contract=name, is_known=is_known
    )


def _values(values: dict[str, Any]) -> str:
    return ", ".join(f"{spec.key} {param_text(spec, values[spec.key])}" for spec in PARAM_SPECS)


def _content(call: ContractCall) -> str:
    """Coins and the beginning of the data, for a call that has no words."""
    data = f"a call of 0x{call.data.hex()[:SELECTOR_HEX]}… with {len(call.data)} bytes" if call.data else ""
    coins = coins_text(call.value_wei) if call.value_wei or not data else ""
    return " and ".join(filter(None, (coins, data)))
