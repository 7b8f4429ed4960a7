"""Conservation lines: sums of the logs on one side, and of storage on the other."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from openledger_protocol.primitives import Address

from .claims import ClaimHistory, record_parts
from .events import EventLog, amount_of, text
from .storage import Stored

# ---- Terms: the way of everything paid in, one term for each role; none is computed as the rest of the others.

Terms = Mapping[str, int | Mapping[str, int]]

ROLES = ("nodes", "adapter_owners", "datanet_owners", "treasuries", "protocol")


def terms_of(log: EventLog, stored: Stored, claims: Sequence[ClaimHistory]) -> Terms:
    """Deposits, credits by role, refunds to payers, and the amounts still held.

    A credit counts as paid whether it was withdrawn or not. Contributors are listed by account.
    """
    sums: Counter[str] = Counter()
    contributors: Counter[str] = Counter()
    for claim in claims:
        for credited, role in zip(claim.credited, claim.roles, strict=True):
            sums[role] += credited.amount_wei
            if role == "contributors":
                contributors[credited.account] += credited.amount_wei
    return {
        "paid_in": log.total("ChannelOpened", "ToppedUp"),
        **{role: sums[role] for role in ROLES},
        "contributors": dict(sorted(contributors.items())),
        "stakers": log.total("RewardsNotified"),
        "refunded": log.total("Refunded"),
        "payer_withdrawn": log.total("WithdrawFinished"),
        "in_channels": stored.in_channels,
        "in_claims": stored.live,
    }


def where_it_went(terms: Terms) -> int:
    """The sum of all terms but `paid_in`."""
    spent = [term for name, term in terms.items() if name != "paid_in"]
    return sum(term if isinstance(term, int) else sum(term.values()) for term in spent)


def terms_to_json(terms: Terms) -> dict[str, object]:
    """Convert terms for JSON, with wei as decimal strings."""
    return {
        name: str(term) if isinstance(term, int) else {account: str(wei) for account, wei in term.items()}
        for name, term in terms.items()
    }


# ---- lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Two sums that must be equal to the wei."""

    id: str
    meaning: str
    left: int
    right: int

    @property
    def holds(self) -> bool:
        """True if the sums are equal."""
        return self.left == self.right


def conservation_lines(
    log: EventLog,
    stored: Stored,
    claims: Sequence[ClaimHistory],
    terms: Terms,
    contracts: Mapping[str, Address],
    donations: Mapping[str, int],
) -> list[Line]:
    """Compute every line, in the order in which money moves."""
    return [
        *_payment_lines(log, stored, claims),
        *_stake_lines(log, stored, contracts["NodeStaking"]),
        _bond_line(log, stored),
        *_token_lines(log, stored, contracts, donations),
        Line(
            id="terms",
            meaning="paid in (logs) = all the other terms",
            left=log.total("ChannelOpened", "ToppedUp"),
            right=where_it_went(terms),
        ),
    ]


def _payment_lines(log: EventLog, stored: Stored, claims: Sequence[ClaimHistory]) -> Iterator[Line]:
    value = stored.values
    back = value["PaymentChannels", "_refunded"] + value["PaymentChannels", "_withdrawn"]
    yield Line(
        id="channels",
        meaning="opened + topped up (logs) = refunded + withdrawn + in channels + in claims + released (storage)",
        left=log.total("ChannelOpened", "ToppedUp"),
        right=back + stored.in_channels + stored.live + value["PaymentChannels", "_released"],
    )
    yield Line(
        id="claims",
        meaning="gross claimed (storage) = protocol + stakers + credits + pots + nodes' shares (logs)",
        left=value["PaymentChannels", "_claimed"],
        right=sum(sum(record_parts(claim.record).values()) for claim in claims if claim.record),
    )
    yield Line(
        id="releases",
        meaning="gross released (storage) = credited + notified to stakers (logs)",
        left=value["PaymentChannels", "_released"],
        right=log.total("Credited", "StakersNotified"),
    )
    yield Line(
        id="credits",
        meaning="credited (logs) = paid out + balances (storage)",
        left=log.total("Credited"),
        right=value["AttributionRewards", "_totals", "paidOut"] + stored.sum("AttributionRewards", "balanceOf"),
    )


def _stake_lines(log: EventLog, stored: Stored, staking: Address) -> Iterator[Line]:
    bonded, unbonding = stored.sum("NodeStaking", "_nodes", "bonded"), stored.sum("NodeStaking", "_requests")
    withdrawn, paid = (stored.values["NodeStaking", "_totals", name] for name in ("withdrawn", "rewardsPaid"))
    yield Line(
        id="stakes",
        meaning="bonded in + notified (logs) = bonded + unbonding + withdrawn + rewards and their dust (storage)",
        left=log.total("Bonded", "RewardsNotified"),
        right=bonded + unbonding + withdrawn + paid + stored.accrued + stored.dust,
    )
    yield Line(
        id="slashes",
        meaning="tokens that left NodeStaking (logs) = withdrawn + rewards paid (storage): none were slashed",
        left=sum(amount_of(event) for event in log.of("Transfer") if text(event, "from") == staking),
        right=withdrawn + paid,
    )


def _bond_line(log: EventLog, stored: Stored) -> Line:
    return Line(
        id="adapter-bonds",
        meaning="adapter bonds put up (logs) = bonds held + reclaimed (storage)",
        left=log.total("AdapterRegistered"),
        right=stored.values["ModelRegistry", "_bondsOut"] + stored.sum("ModelRegistry", "_adapters", "bond"),
    )


def _token_lines(
    log: EventLog, stored: Stored, contracts: Mapping[str, Address], donations: Mapping[str, int]
) -> Iterator[Line]:
    yield Line(
        id="supply",
        meaning="supply (storage) = what all holders have (storage)",
        left=stored.values["OpenToken", "_totalSupply"],
        right=stored.sum("OpenToken", "_balances"),
    )
    for name, address in contracts.items():
        yield Line(
            id=f"tokens.{name}",
            meaning=f"tokens at {name} (token) = what its books hold (storage) + donations (logs)",
            left=stored.values.get(("OpenToken", "_balances", address), 0),
            right=held_by(stored).get(name, 0) + donations[name],
        )


def held_by(stored: Stored) -> dict[str, int]:
    """The amount that each contract owes to accounts, by contract."""
    bonded, unbonding = stored.sum("NodeStaking", "_nodes", "bonded"), stored.sum("NodeStaking", "_requests")
    return {
        "PaymentChannels": stored.in_channels + stored.live,
        "AttributionRewards": stored.sum("AttributionRewards", "balanceOf"),
        "NodeStaking": bonded + unbonding + stored.accrued + stored.dust,
        "ModelRegistry": stored.sum("ModelRegistry", "_adapters", "bond"),
    }
