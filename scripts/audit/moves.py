"""Each token that a contract took or gave, by what the contract says of it; the rest is a gift or a loss."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from openledger_protocol.events import Event
from openledger_protocol.primitives import ZERO_ADDRESS, Address

from .said import Said, amount_of, text

Move = tuple[str, str, str, int]  # transaction, from, to, wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """Transfers to and from contracts, matched with their events."""

    num_matched: int
    donations: Mapping[str, int]  # by contract: given without asking anything for it
    faults: tuple[str, ...]


def match_moves(said: Said, contracts: Mapping[str, Address]) -> Moves:
    """Match within each transaction."""
    names = {address: name for name, address in contracts.items()}
    payers = {text(event, "channelId"): text(event, "payer") for event in said.of("ChannelOpened")}
    explained = Counter(move for event in said.events if (move := _move(event, contracts, payers)) and move[3])
    seen = Counter(move for event in said.of("Transfer") if (move := _transfer(event, names)) and move[3])
    donations: Counter[str] = Counter()
    faults = [f"{_show(move, names)} is said, and no token moved" for move in (explained - seen).elements()]
    for move in (seen - explained).elements():
        _, sender, to, amount = move
        if sender in names:
            faults.append(f"{_show(move, names)} moved, and nothing says why")
        else:
            donations[names[Address(to)]] += amount
    return Moves(
        num_matched=(seen & explained).total(),
        donations={name: donations[name] for name in contracts},
        faults=tuple(faults),
    )


def _move(event: Event, contracts: Mapping[str, Address], payers: Mapping[str, str]) -> Move | None:
    """The transfer that an event goes with."""
    channels, staking = contracts["PaymentChannels"], contracts["NodeStaking"]
    rewards, models = contracts["AttributionRewards"], contracts["ModelRegistry"]

    def payer() -> str:
        return payers.get(text(event, "channelId"), ZERO_ADDRESS)

    match event.name:
        case "ChannelOpened" | "ToppedUp":
            ends = payer(), channels
        case "WithdrawFinished" | "Refunded":
            ends = channels, payer()
        case "Released":
            ends = channels, rewards
        case "StakersNotified":
            ends = rewards, staking
        case "Withdrawn":
            ends = rewards, text(event, "to")
        case "Bonded":
            ends = text(event, "node"), staking
        case "StakeWithdrawn":
            ends = staking, text(event, "node")
        case "RewardsPaid":
            ends = staking, text(event, "to")
        case "AdapterRegistered":
            ends = text(event, "owner"), models
        case "BondReclaimed":
            ends = models, text(event, "owner")
        case _:
            return None
    return event.transaction_hash, *ends, amount_of(event)


def _transfer(event: Event, names: Mapping[Address, str]) -> Move | None:
    sender, to = Address(text(event, "from")), Address(text(event, "to"))
    return (event.transaction_hash, sender, to, amount_of(event)) if sender in names or to in names else None


def _show(move: Move, names: Mapping[Address, str]) -> str:
    transaction, sender, to, amount = move
    from_name, to_name = (names.get(Address(each), each) for each in (sender, to))
    return f"{amount} wei from {from_name} to {to_name} in {transaction}"
