"""Conservation lines: sums of the logs on one side, and of storage on the other."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from openledger_protocol.payouts import CreditRole
from openledger_protocol.primitives import Address

from ..network_file import WRAPPED_VOTES
from .books import FINALIZED, FINALIZED_LATE
from .claims import ClaimHistory, record_parts
from .draws import fee_wei
from .events import EventLog, amount_of, text
from .governance import treasury_in, treasury_spent
from .staking import BURNT
from .storage import Stored

# ---- Terms: the way of everything paid in, one term for each role; none is computed as the rest of all others.

Terms = Mapping[str, int | Mapping[str, int]]

ROLES = ("nodes", "adapter_owners", "datanet_owners", "treasuries", "protocol", "late_fees", "draw_fees")


def terms_of(log: EventLog, stored: Stored, claims: Sequence[ClaimHistory]) -> Terms:
    """Deposits, credits by role, refunds to payers, and the amounts still held.

    A credit counts as paid whether it was withdrawn or not. Contributors are listed by account. Fees for late lists,
    and those for lapsed draws and for what a list leaves to nobody, go to the protocol, but are terms of their own.
    """
    sums: Counter[str] = Counter()
    contributors: Counter[str] = Counter()
    for claim in claims:
        sums["draw_fees" if claim.proposed else "late_fees"] += claim.fee_wei
        sums["protocol"] -= claim.fee_wei
        for credited, role in zip(claim.credited, claim.roles, strict=True):
            sums[role] += credited.amount_wei
            if role == "contributors":
                contributors[credited.account] += credited.amount_wei
    return {
        "paid_in": log.total("ChannelOpened", "ToppedUp"),
        **{role: sums[role] for role in ROLES},
        "contributors": dict(sorted(contributors.items())),
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
        _treasury_line(log, stored, contracts["Timelock"]),
        *_token_lines(stored, contracts, donations),
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
        id="lanes",
        meaning="claimed of lanes (storage) = gross claimed (logs)",
        left=sum(stored.lanes.values()),
        right=log.total("Claimed"),
    )
    yield Line(
        id="claims",
        meaning="gross claimed (storage) = protocol + credits + pots + nodes' shares (logs)",
        left=value["PaymentChannels", "_claimed"],
        right=sum(sum(record_parts(claim.record).values()) for claim in claims if claim.record),
    )
    yield Line(
        id="releases",
        meaning="gross released (storage) = credited (logs)",
        left=value["PaymentChannels", "_released"],
        right=log.total("Credited"),
    )
    yield Line(
        id="credits",
        meaning="credited (logs) = paid out + balances (storage)",
        left=log.total("Credited"),
        right=value["AttributionRewards", "_totals", "paidOut"]
        + stored.sum("AttributionRewards", "_accounts", "balance"),
    )
    yield Line(
        id="fees",
        meaning="nodes' shares of final claims - credited to nodes (logs) = fees for late, lapsed and missing lists",
        left=sum(_kept_from_node(claim) for claim in claims if claim.is_final),
        right=sum(_fee_stored(stored, claim) for claim in claims),
    )


def _kept_from_node(claim: ClaimHistory) -> int:
    paid = sum(each.amount_wei for each in claim.credited if each.role == CreditRole.NODE)
    return (claim.record.node_share_wei if claim.record else 0) - paid


def _fee_stored(stored: Stored, claim: ClaimHistory) -> int:
    """The fee of a claim, by the state of its proposal in storage."""
    at = ("AttributionRewards", "_proposals", claim.node, claim.seq)
    state, redraws = (stored.values[(*at, name)] for name in ("state", "redraws"))
    if claim.record is None or state not in (FINALIZED, FINALIZED_LATE):
        return 0
    return fee_wei(claim.record, claim.payouts, is_late=state == FINALIZED_LATE, num_redraws=redraws)


def _stake_lines(log: EventLog, stored: Stored, staking: Address) -> Iterator[Line]:
    kept = stored.sum("NodeStaking", "bondedOf") + stored.sum("NodeStaking", "_requests", "amount")
    gone = sum(stored.values["NodeStaking", "_totals", name] for name in ("withdrawn", "slashed"))
    yield Line(
        id="stakes",
        meaning="bonded in (logs) = bonded + unbonding + withdrawn + slashed (storage)",
        left=log.total("Bonded"),
        right=kept + gone,
    )
    out = [event for event in log.of("Transfer") if text(event, "from") == staking]
    yield Line(
        id="slashes",
        meaning="slashed (storage) = tokens of NodeStaking that were burnt (logs)",
        left=stored.values["NodeStaking", "_totals", "slashed"],
        right=sum(amount_of(event) for event in out if text(event, "to") == BURNT),
    )


def _bond_line(log: EventLog, stored: Stored) -> Line:
    return Line(
        id="adapter-bonds",
        meaning="adapter bonds put up (logs) = bonds held + reclaimed (storage)",
        left=log.total("AdapterRegistered"),
        right=stored.values["ModelRegistry", "_bondsOut"] + stored.sum("ModelRegistry", "_adapters", "bond"),
    )


def _treasury_line(log: EventLog, stored: Stored, treasury: Address) -> Line:
    value = stored.values
    return Line(
        id="treasury",
        meaning="credited to the treasury + sent to it (logs) = its balances + its tokens (storage) + spent (logs)",
        left=treasury_in(log, treasury),
        right=value.get(("AttributionRewards", "_accounts", treasury, "balance"), 0)
        + value["OpenToken", "_balances", treasury]
        + treasury_spent(log, treasury),
    )


def _token_lines(stored: Stored, contracts: Mapping[str, Address], donations: Mapping[str, int]) -> Iterator[Line]:
    if ("OpenToken", "_totalSupply") in stored.values:
        yield Line(
            id="supply",
            meaning="supply (storage) = what all holders have (storage)",
            left=stored.values["OpenToken", "_totalSupply"],
            right=stored.sum("OpenToken", "_balances"),
        )
    for name, address in contracts.items():
        if name == "Timelock":
            continue  # its tokens are in the line of the treasury
        yield Line(
            id=f"tokens.{name}",
            meaning=f"tokens at {name} (token) = what its books hold (storage) + donations (logs)",
            left=stored.values["OpenToken", "_balances", address],
            right=held_by(stored).get(name, 0) + donations[name],
        )


def held_by(stored: Stored) -> dict[str, int]:
    """The amount that each contract owes to accounts, by contract."""
    staked = stored.sum("NodeStaking", "bondedOf") + stored.sum("NodeStaking", "_requests", "amount")
    return {
        "PaymentChannels": stored.in_channels + stored.live,
        "AttributionRewards": stored.sum("AttributionRewards", "_accounts", "balance"),
        "NodeStaking": staked,
        "ModelRegistry": stored.sum("ModelRegistry", "_adapters", "bond"),
        WRAPPED_VOTES: stored.values.get((WRAPPED_VOTES, "_totalSupply"), 0),
    }
