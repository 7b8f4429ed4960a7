"""Proposals in words: the calls that a vote is about, so that nobody votes on what they can't read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from openledger_protocol.chain import ContractCall
from openledger_protocol.epoch import Params
from openledger_protocol.primitives import Address, Digest, Wei

from ..text import counted, on_one_line
from .call_words import describe_call
from .contract_values import Slash, params_of
from .contracts import load_contract
from .param_words import change_texts

CALLS_SHOWN_MAX: Final = 8
TEXT_CHARACTERS_MAX: Final = 600
"""A proposal comes from a stranger and may have thousands of calls, and megabytes of text."""

TITLE_CHARACTERS_MAX: Final = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedAction:
    """One call of a proposal in words."""

    text: str
    contract: str | None
    is_known: bool  # False: only the call itself says what it does
    target: Address
    data: str  # the beginning, as 0x-hex
    value_wei: Wei
    changes: tuple[str, ...] = ()  # of the network's values


def describe_calls(
    calls: tuple[ContractCall, ...], contracts: Mapping[str, Address], before: Params | None = None
) -> list[ProposedAction]:
    """Describe the first calls of a proposal; `before` are the values that it would change."""
    return [_describe(call, contracts, before) for call in calls[:CALLS_SHOWN_MAX]]


def title_of(actions: list[ProposedAction], num_calls: int) -> str:
    """One line for a proposal, by what it does and not by what it says of itself."""
    parts = [part for action in actions for part in (action.changes or (action.text,))]
    more = f" and {counted(num_calls - len(actions), 'more call')}" if num_calls > len(actions) else ""
    return shorten("; ".join(parts) or "no call", TITLE_CHARACTERS_MAX) + more


def shorten(text: str, most: int) -> str:
    """Cut a stranger's text, and make it safe to show on one line."""
    cut = text if len(text) <= most else f"{text[:most]}…"
    return on_one_line(cut)


def proposed_params(call: ContractCall, contracts: Mapping[str, Address]) -> Params | None:
    """The values that a call would set; None for another call."""
    if call.to != contracts["Params"] or call.value_wei:
        return None
    found = load_contract("Params").decode_call(call.data)
    if found is None or found[0] != "set":
        return None
    values: Any = found[1]["values"]
    return params_of(values)


def proposed_slash(call: ContractCall, contracts: Mapping[str, Address]) -> Slash | None:
    """The stake that a call would burn; None for another call."""
    if call.to != contracts["NodeStaking"] or call.value_wei:
        return None
    found = load_contract("NodeStaking").decode_call(call.data)
    if found is None or found[0] != "slash":
        return None
    given: Any = found[1]
    return Slash(node=Address(given["node"]), amount_wei=Wei(given["amount"]), evidence=Digest(given["evidence"]))


def _describe(call: ContractCall, contracts: Mapping[str, Address], before: Params | None) -> ProposedAction:
    said = describe_call(call, contracts)
    params = proposed_params(call, contracts)
    changes = tuple(change_texts(before, params)) if before and params else ()
    text = said.text if not (before and params) else "set values" if changes else "set the values that hold already"
    return ProposedAction(
        text=shorten(text, TEXT_CHARACTERS_MAX),
        contract=said.contract,
        is_known=said.is_known,
        target=call.to,
        data=shorten("0x" + call.data.hex(), TEXT_CHARACTERS_MAX),
        value_wei=call.value_wei,
        changes=changes,
    )
