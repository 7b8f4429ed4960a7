"""Calls of the network's contracts in words, so that a person can check a transaction that another program signed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from openledger_protocol.chain import ContractCall
from openledger_protocol.governance import PARAM_SPECS
from openledger_protocol.primitives import Address, Wei

from ..network_file import CONTRACTS, WRAPPED_VOTES
from ..text import duration_text
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
    "WrappedVotes": {
        "delegate": lambda given: WORDS["OpenToken"]["delegate"](given),
        "depositFor": lambda given: f"turn {open_text(given['value'])} into votes of {given['account']}",
        "withdrawTo": lambda given: f"turn votes back into {open_text(given['value'])} of {given['account']}",
    },
    "OpenGovernor": {
        "castVote": lambda given: _vote(given),
        "castVoteWithReason": lambda given: _vote(given),
    },
    "Params": {
        "set": lambda given: f"set the network's values: {_values(given['values'])}",
    },
    "Disputes": {
        "challenge": lambda given: f"challenge a receipt of {given['config']['node']} and make its texts public",
        "contest": lambda given: f"stand up for the node in case {given['digest']}",
        "judge": lambda given: f"judge case {given['digest']}: {'guilty' if given['guilty'] else 'not guilty'}",
        "close": lambda given: f"close case {given['digest']}, which nobody judged",
        "withdraw": lambda given: f"take out what cases have credited, to {given['to']}",
    },
    "NodeStaking": {
        "bond": lambda given: f"stake {open_text(given['amount'])}",
        "bondWithPermit": lambda given: f"stake {open_text(given['amount'])}",
        "unbond": lambda given: f"begin to unbond {open_text(given['amount'])}",
        "withdraw": lambda _: "take out unbonded stake",
        "setSigner": lambda given: f"appoint {given['signer']} to sign for the node",
        "revokeSigner": lambda given: f"revoke {given['signer']} as the node's signer",
        "setPayout": lambda given: f"credit earnings to {given['payout']}",
        "claimStakerRewards": lambda _: "take out what the bond has earned",
    },
    "PaymentChannels": {
        "open": lambda given: _opening(given),
        "openWithPermit": lambda given: _opening(given),
        "topUp": lambda given: f"pay {open_text(given['amount'])} into a channel with {given['config']['node']}",
        "topUpWithPermit": lambda given: WORDS["PaymentChannels"]["topUp"](given),
        "startWithdraw": lambda given: (
            f"ask for {open_text(given['amount'])} of the channel with {given['config']['node']}"
        ),
        "finishWithdraw": lambda given: f"take out what was asked for of the channel with {given['config']['node']}",
    },
    "AttributionRewards": {
        "pause": lambda given: f"pause the network for {duration_text(given['duration'])}",
        "withdraw": lambda given: f"withdraw {open_text(given['amount'])} of earnings to {given['to']}",
        "withdrawFor": lambda given: _relayed(given["claims"]),
    },
    "DatanetRegistry": {
        "create": lambda given: f"register Datanet {given['name']} with treasury {given['treasury']}",
        "createDescribed": lambda given: (
            f"register Datanet {given['name']} with treasury {given['treasury']}, and describe it on the chain"
        ),
        "describe": lambda given: f"describe Datanet {given['id']} on the chain: {given['metadata']!r}",
        "setCurators": lambda given: (
            f"require {given['need']} of {', '.join(given['curators'])} for versions of Datanet {given['id']}"
            if given["curators"]
            else f"let the owner of Datanet {given['id']} publish versions alone"
        ),
        "publishApproved": lambda given: (
            f"publish a version of Datanet {given['id']} with {len(given['approvals'])} approvals of curators"
        ),
        "publish": lambda given: f"publish a version of Datanet {given['id']}",
        "withdrawRows": lambda given: f"withdraw {len(given['rows'])} rows of Datanet {given['id']}",
        "commit": lambda given: f"prove the time of rows by commitment {given['commitment']}",
        "postBond": lambda given: (
            f"post a bond of {open_text(given['amount'])} for {given['account']} at Datanet {given['id']}"
        ),
        "postBondWithPermit": lambda given: WORDS["DatanetRegistry"]["postBond"](given),
        "startTakeBack": lambda given: (
            f"begin to take back {open_text(given['amount'])} of the bond at Datanet {given['id']}"
        ),
        "takeBackBond": lambda given: f"take back what is leaving of the bond at Datanet {given['id']}",
        "forfeitBond": lambda given: (
            f"forfeit up to {open_text(given['amountMax'])} of the bond of {given['account']} "
            f"at Datanet {given['id']}"
        ),
        "transferOwnership": lambda given: f"offer Datanet {given['id']} to {given['owner']}",
        "acceptOwnership": lambda given: f"accept Datanet {given['id']}",
    },
    "ModelRegistry": {
        "register": lambda given: f"register an adapter of manifest {given['manifestId']} under the network's bond",
        "registerWithPermit": lambda given: WORDS["ModelRegistry"]["register"](given),
        "retire": lambda given: f"retire adapter {given['adapterId']}",
        "reclaimBond": lambda given: f"take back the bond of adapter {given['adapterId']}",
    },
}
"""By contract and function; each function takes the call's arguments by name."""


PROPOSAL_CALLS: Final = {
    "propose": "propose",
    "queue": "queue the proposal",
    "execute": "execute the proposal",
    "cancel": "cancel the proposal",
}
"""Functions of the governor that name the calls of a proposal."""

INNER_MAX: Final = 8
"""So many calls of a proposal, and signed withdrawals, are described; a stranger's may have thousands."""


def _relayed(claims: Any) -> str:
    texts = [f"{open_text(each['amount'])} of {each['account']} to {each['to']}" for each in claims[:INNER_MAX]]
    more = f" and {len(claims) - INNER_MAX} more" if len(claims) > INNER_MAX else ""
    return f"send signed withdrawals of {', '.join(texts)}{more}"


def describe_call(call: ContractCall, contracts: Mapping[str, Address]) -> CallText:
    """Describe a call of one of these contracts, or of a target that this node does not know."""
    name = next((name for name, address in contracts.items() if address == call.to), None)
    found = load_contract(name).decode_call(call.data) if name in (*CONTRACTS, WRAPPED_VOTES) else None
    if name is None or found is None or call.value_wei:
        return CallText(text=f"send {_content(call)} to {name or call.to}", contract=name, is_known=False)
    function, arguments = found
    if name == "OpenGovernor" and function in PROPOSAL_CALLS:
        return _proposal_text(function, arguments, contracts)
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


def _proposal_text(function: str, given: dict[str, Any], contracts: Mapping[str, Address]) -> CallText:
    """Describe each call that a proposal makes, so that nobody signs one unread; a call of a call is not unfolded."""
    rows = list(zip(given["targets"], given["values"], given["calldatas"], strict=False))
    inner = [
        ContractCall(to=Address(to), data=bytes.fromhex(data[2:]), value_wei=Wei(value))
        for to, value, data in rows[:INNER_MAX]
    ]
    said = [
        CallText(text="a call of the governor", contract="OpenGovernor", is_known=False)
        if call.to == contracts["OpenGovernor"]
        else describe_call(call, contracts)
        for call in inner
    ]
    texts = [each.text for each in said] + (
        [f"and {len(rows) - INNER_MAX} more calls"] if len(rows) > INNER_MAX else []
    )
    return CallText(
        text=f"{PROPOSAL_CALLS[function]}: {'; '.join(texts) or 'no call'}",
        contract="OpenGovernor",
        is_known=len(rows) <= INNER_MAX and all(each.is_known for each in said),
    )


def _vote(given: dict[str, Any]) -> str:
    said = {0: "vote against", 1: "vote for", 2: "abstain on"}.get(given["support"], f"vote {given['support']} on")
    return f"{said} proposal 0x{given['proposalId']:064x}"


def _values(values: dict[str, Any]) -> str:
    return ", ".join(f"{spec.key} {param_text(spec, values[spec.key])}" for spec in PARAM_SPECS)


def _opening(given: dict[str, Any]) -> str:
    return f"open a channel with {given['config']['node']} and pay in {open_text(given['amount'])}"


def _content(call: ContractCall) -> str:
    """Coins and the beginning of the data, for a call that has no words."""
    data = f"a call of 0x{call.data.hex()[:SELECTOR_HEX]}… with {len(call.data)} bytes" if call.data else ""
    coins = coins_text(call.value_wei) if call.value_wei or not data else ""
    return " and ".join(filter(None, (coins, data)))
