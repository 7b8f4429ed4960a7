"""Books kept from the logs: the values that storage must hold if every event of the contracts is true."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from openledger_protocol.primitives import ZERO_ADDRESS
from openledger_protocol.settlement import payouts_hash

from ..network_file import WRAPPED_VOTES
from ..settlement.records import integer, payouts_of
from .chain import PinnedChain
from .claims import ClaimHistory, ClaimReader
from .draws import redraws_max
from .events import EventLog, amount_of, text
from .governance import timelock_values
from .splits import gross_by_adapter
from .staking import Stakes
from .storage_layout import StorageKey

NONE, PROPOSED, FINALIZED, FINALIZED_LATE = range(4)
"""States of a claim in AttributionRewards."""

ACTIVE = 2**64 - 1
"""The second until which a signer that was not revoked may sign."""

Expected = Iterator[tuple[StorageKey, int]]

Lanes = Mapping[tuple[str, str], int]
"""Wei claimed by node and adapter, over the node's channels; adapters without a Datanet are one with the base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The expected value of each storage key, and sums where events tell no more than a sum."""

    expected: Mapping[StorageKey, int]
    nodes_of: Mapping[str, str]  # by channel
    adapters: Mapping[str, str]  # the key of each in `lanes`; the base is one of them
    claimed: Mapping[str, int]  # by node, over its channels: no event tells how much a claim took from each
    lanes: Lanes
    faults: tuple[str, ...]


def books_of(chain: PinnedChain, log: EventLog, reader: ClaimReader) -> Books:
    """Fold all events into expected values; `reader` has read them.

    A token other than OpenToken can be older than the network, so that the events don't tell all of its balances.
    """
    claims = list(reader.claims.values())
    parts = (
        _roles(log),
        _channels(log),
        _claims(log, claims),
        _balances(log),
        _proposals(claims),
        _stake_totals(log, reader.stakes),
        _nodes(log, reader.stakes),
        _requests(log, reader.stakes),
        _bonds(log),
        timelock_values(log),
        _holdings(log, "Transfer", "OpenToken") if chain.is_open_token else (),
        _holdings(log, "VotesMoved", WRAPPED_VOTES) if WRAPPED_VOTES in chain.contracts else (),
    )
    return Books(
        expected={key: amount for part in parts for key, amount in part},
        nodes_of=_nodes_of_channels(log),
        adapters=reader.registry.lane_keys(),
        claimed=log.by("node", plus=["Claimed"]),
        lanes=_lanes(claims),
        faults=tuple(reader.stakes.faults),
    )


def _roles(log: EventLog) -> Expected:
    """Roles that were given once: whoever deployed the contracts can't give them again."""
    if log.of("RolesWired"):
        yield ("PaymentChannels", "deployer"), 0


def _lanes(claims: Sequence[ClaimHistory]) -> Lanes:
    sums: Counter[tuple[str, str]] = Counter()
    for claim in claims:
        if claim.record:
            for adapter, gross in gross_by_adapter(claim.record).items():
                sums[claim.node, adapter] += gross
    return sums


def _nodes_of_channels(log: EventLog) -> dict[str, str]:
    """The node that each channel pays; the zero address if its opening event is missing."""
    nodes = {text(event, "channelId"): ZERO_ADDRESS for event in log.of("ToppedUp", "WithdrawFinished", "Refunded")}
    return nodes | {text(event, "channelId"): text(event, "node") for event in log.of("ChannelOpened")}


def _channels(log: EventLog) -> Expected:
    """Deposits, refunds and withdrawals of payers, and the guardian's stop."""
    yield ("PaymentChannels", "_paidIn"), log.total("ChannelOpened", "ToppedUp")
    yield ("PaymentChannels", "_refunded"), log.total("Refunded")
    yield ("PaymentChannels", "_withdrawn"), log.total("WithdrawFinished")
    stops = [integer(event, "until") for event in log.of("DepositsStopped")]
    yield ("PaymentChannels", "stoppedUntil"), stops[-1] if stops else 0
    deposits = log.by("channelId", plus=["ChannelOpened", "ToppedUp"], minus=["WithdrawFinished", "Refunded"])
    for channel, amount in deposits.items():
        yield ("PaymentChannels", "_channels", channel, "deposit"), amount
    for channel, (amount, ready_at) in _pending_withdrawals(log, deposits).items():
        yield ("PaymentChannels", "_withdrawals", channel, "amount"), amount
        yield ("PaymentChannels", "_withdrawals", channel, "readyAt"), ready_at
    for channel, count in Counter(text(event, "channelId") for event in log.of("Refunded")).items():
        yield ("PaymentChannels", "refundNonceOf", channel), count


def _pending_withdrawals(log: EventLog, channels: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Pending withdrawals by channel, in wei and the second of its end; a refund reduces them."""
    pending = dict.fromkeys(channels, (0, 0))
    for event in log.of("WithdrawStarted", "WithdrawFinished", "Refunded"):
        channel = text(event, "channelId")
        amount, ready_at = pending.get(channel, (0, 0))
        match event.name:
            case "WithdrawStarted":
                pending[channel] = amount_of(event), integer(event, "readyAt")
            case "WithdrawFinished":
                pending[channel] = 0, 0
            case "Refunded":
                pending[channel] = max(0, amount - amount_of(event)), ready_at
    return pending


def _claims(log: EventLog, claims: Sequence[ClaimHistory]) -> Expected:
    """Claimed totals, and the hash of each claim's record, which is stored until its tokens leave."""
    yield ("PaymentChannels", "_claimed"), log.total("Claimed")
    yield ("PaymentChannels", "_released"), log.total("Released")
    for node, count in Counter(text(event, "node") for event in log.of("Claimed")).items():
        yield ("PaymentChannels", "nextSeq", node), count
    for claim in claims:
        is_live = claim.record is not None and claim.released_wei is None
        yield ("PaymentChannels", "claimOf", claim.node, claim.seq), claim.record_word if is_live else 0


def _balances(log: EventLog) -> Expected:
    """Credits minus withdrawals, in total and by account, and where they are paid to."""
    yield ("AttributionRewards", "_totals", "credited"), log.total("Credited")
    yield ("AttributionRewards", "_totals", "paidOut"), log.total("Withdrawn")
    for account, amount in log.by("account", plus=["Credited"], minus=["Withdrawn"]).items():
        yield ("AttributionRewards", "_accounts", account, "balance"), amount
    for account, wanted in {text(event, "account"): event for event in log.of("PayoutSet")}.items():
        yield ("AttributionRewards", "_accounts", account, "payout"), int(text(wanted, "payout"), 16)
        yield ("AttributionRewards", "_accounts", account, "onlySelf"), int(bool(wanted.arguments["onlySelf"]))


def _proposals(claims: Sequence[ClaimHistory]) -> Expected:
    """Proposed payout lists, by their hashes, and their draws."""
    for claim in claims:
        at: StorageKey = ("AttributionRewards", "_proposals", claim.node, claim.seq)
        proposed = claim.proposed
        yield (*at, "payoutsHash"), int(payouts_hash(payouts_of(proposed)), 16) if proposed else 0
        yield (*at, "receiptsRoot"), int(text(proposed, "receiptsRoot"), 16) if proposed else 0
        yield (*at, "readyAt"), integer(proposed, "readyAt") if proposed else 0
        yield (*at, "drawBlock"), claim.draws.block
        yield (*at, "redraws"), claim.draws.redraws
        yield (*at, "redrawsMax"), redraws_max(claim.record) if proposed and claim.record else 0
        yield (*at, "state"), _state_of(claim)


def _state_of(claim: ClaimHistory) -> int:
    if claim.is_final:
        return FINALIZED_LATE if claim.is_late else FINALIZED
    return PROPOSED if claim.proposed else NONE


def _stake_totals(log: EventLog, stakes: Stakes) -> Expected:
    yield ("NodeStaking", "_totals", "bonded"), stakes.bonded.total()
    yield ("NodeStaking", "_totals", "unbonding"), stakes.unbonding
    for member, event in (
        ("bondedIn", "Bonded"),
        ("withdrawn", "StakeWithdrawn"),
        ("slashed", "Slashed"),
    ):
        yield ("NodeStaking", "_totals", member), log.total(event)


def _nodes(log: EventLog, stakes: Stakes) -> Expected:
    """Each node's bond."""
    for node in sorted(stakes.bonded):
        yield ("NodeStaking", "bondedOf", node), stakes.bonded[node]


def _requests(log: EventLog, stakes: Stakes) -> Expected:
    """Stake on its way out, request by request, and who can sign for it."""
    for node in sorted({*stakes.bonded, *stakes.requests}):
        requests = stakes.requests.get(node, [])
        yield ("NodeStaking", "_requests", node), len(requests)
        for index, (amount, ready_at) in enumerate(requests):
            yield ("NodeStaking", "_requests", node, index, "amount"), amount
            yield ("NodeStaking", "_requests", node, index, "readyAt"), ready_at
    for event in log.of("SignerSet", "SignerRevoked"):
        until = ACTIVE if event.name == "SignerSet" else integer(event, "punishableUntil")
        yield ("NodeStaking", "signerUntil", text(event, "node"), text(event, "signer")), until
    for node in sorted(stakes.bonded):
        yield ("NodeStaking", "slashedAt", node), stakes.slashed_at_s.get(node, 0)


def _bonds(log: EventLog) -> Expected:
    """Bonds of registered adapters."""
    yield ("ModelRegistry", "_bondsIn"), log.total("AdapterRegistered")
    yield ("ModelRegistry", "_bondsOut"), log.total("BondReclaimed")
    for adapter, amount in log.by("adapterId", plus=["AdapterRegistered"], minus=["BondReclaimed"]).items():
        yield ("ModelRegistry", "_adapters", adapter, "bond"), amount


def _holdings(log: EventLog, moved: str, contract: str) -> Expected:
    """A token's balances by holder, and its supply."""
    sums: Counter[str] = Counter()
    for event in log.of(moved):
        sums[text(event, "to")] += amount_of(event)
        sums[text(event, "from")] -= amount_of(event)
    yield (contract, "_totalSupply"), -sums.pop(ZERO_ADDRESS, 0)
    for account, amount in sums.items():
        yield (contract, "_balances", account), amount
