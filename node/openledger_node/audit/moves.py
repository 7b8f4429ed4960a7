"""Token transfers of the contracts, matched with their events; the rest are donations or losses."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from openledger_protocol.events import Event
from openledger_protocol.primitives import ZERO_ADDRESS, Address

from ..network_file import WRAPPED_VOTES
from .events import EventLog, amount_of, text
from .staking import BURNT

Move = tuple[str, str, str, int]  # transaction, from, to, wei
Holders = Mapping[str, str]  # accounts by contract, by channel, by role

PAYER, BURNER = "payer of the channel", "account of what is burnt"
NOT_MATCHED = ("Timelock", WRAPPED_VOTES)
"""Anybody may send tokens to the treasury, and wrap them for somebody else: both are summed instead."""
ENDS: Mapping[str, tuple[str, str]] = {
    "ChannelOpened": (PAYER, "PaymentChannels"),
    "ToppedUp": (PAYER, "PaymentChannels"),
    "WithdrawFinished": ("PaymentChannels", PAYER),
    "Refunded": ("PaymentChannels", PAYER),
    "Released": ("PaymentChannels", "AttributionRewards"),
    "Withdrawn": ("AttributionRewards", "to"),
    "Bonded": ("node", "NodeStaking"),
    "StakeWithdrawn": ("NodeStaking", "node"),
    "Slashed": ("NodeStaking", BURNER),
    "AdapterRegistered": ("owner", "ModelRegistry"),
    "BondReclaimed": ("ModelRegistry", "owner"),
}
"""Sender and receiver of an event's amount: contracts, roles, or arguments of the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """Transfers to and from contracts, matched with their events."""

    donations: Mapping[str, int]  # by contract: sent without any matching event
    faults: tuple[str, ...]


def match_moves(log: EventLog, contracts: Mapping[str, Address]) -> Moves:
    """Match transfers and events within each transaction."""
    names = {address: name for name, address in contracts.items() if name not in NOT_MATCHED}
    holders: Holders = {**contracts, **_roles(log)}
    moves = [_move(event, holders) for event in log.of(*ENDS)]
    explained = Counter(move for move in moves if move[-1])
    seen = Counter(move for event in log.of("Transfer") if (move := _transfer(event, names)))
    faults = [f"{_show(move, names)} is in an event, but no token moved" for move in (explained - seen).elements()]
    donations = _sent_astray(log, names)
    for move in (seen - explained).elements():
        _, sender, to, amount = move
        if sender in names:
            faults.append(f"{_show(move, names)} moved without any event that explains it")
        else:
            donations[names[Address(to)]] += amount
    if WRAPPED_VOTES in contracts:
        unbacked = _unbacked(log, contracts[WRAPPED_VOTES])
        donations[WRAPPED_VOTES] = -sum(min(0, wei) for wei in unbacked.values())
        faults += (f"{wei} votes were made in {each} without tokens" for each, wei in unbacked.items() if wei > 0)
    order = [name for name in contracts if name != "Timelock"]
    return Moves(donations={name: donations[name] for name in order}, faults=tuple(faults))


def _unbacked(log: EventLog, wrapped: Address) -> Counter[str]:
    """By transaction: the wrapped votes that were made, or not destroyed, beyond the tokens that came in."""
    sums: Counter[str] = Counter()
    for name, holder in (("Transfer", wrapped), ("VotesMoved", ZERO_ADDRESS)):
        for event in log.of(name):
            moved = (text(event, "to") == holder) - (text(event, "from") == holder)
            sums[event.transaction_hash] -= moved * amount_of(event)
    return sums


def _sent_astray(log: EventLog, names: Mapping[Address, str]) -> Counter[str]:
    """Amounts that owners had paid out to one of the contracts, which books them for nobody."""
    donations: Counter[str] = Counter()
    for event in log.of("Withdrawn"):
        if name := names.get(Address(text(event, "to"))):
            donations[name] += amount_of(event)
    return donations


def _roles(log: EventLog) -> dict[str, str]:
    """The payer of each channel, and the account of what is burnt."""
    payers = {text(event, "channelId"): text(event, "payer") for event in log.of("ChannelOpened")}
    return payers | {BURNER: BURNT}


def _move(event: Event, holders: Holders) -> Move:
    """The transfer that an event announces."""
    sender, to = (_end(event, end, holders) for end in ENDS[event.name])
    return event.transaction_hash, sender, to, amount_of(event)


def _end(event: Event, end: str, holders: Holders) -> str:
    if end == PAYER:
        return holders.get(text(event, "channelId"), ZERO_ADDRESS)
    return holders[end] if end in holders else text(event, end)


def _transfer(event: Event, names: Mapping[Address, str]) -> Move | None:
    sender, to = Address(text(event, "from")), Address(text(event, "to"))
    is_ours = sender in names or to in names
    return (event.transaction_hash, sender, to, amount_of(event)) if is_ours and amount_of(event) else None


def _show(move: Move, names: Mapping[Address, str]) -> str:
    transaction, sender, to, amount = move
    from_name, to_name = (names.get(Address(each), each) for each in (sender, to))
    return f"{amount} wei from {from_name} to {to_name} in {transaction}"
