"""The history of each claim, from its record to its credits, built from events in their order."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from openledger_protocol.claims import AdapterTerms, DatanetTerms
from openledger_protocol.errors import ProtocolError
from openledger_protocol.events import Event
from openledger_protocol.payouts import Beneficiaries, Credited, CreditRole, late_amounts, payout_amounts
from openledger_protocol.primitives import AdapterId, Address, DatanetId, Digest, Wei
from openledger_protocol.settlement import ClaimRecord, Payout, record_hash

from ..settlement.records import integer, payouts_of, record_of
from .draws import Draws, fee_wei, redraws_max
from .events import amount_of, text
from .splits import ADAPTER_OWNERS, EpochTerms, RegistryState, Split, check_split
from .staking import Fixed, Stakes

TERMS = {
    CreditRole.NODE: "nodes",
    CreditRole.CONTRIBUTOR: "contributors",
    CreditRole.TREASURY: "treasuries",
    CreditRole.PROTOCOL: "protocol",
}
"""Terms by the role of a credit; the record's split tells the two kinds of owners apart."""


@dataclass(slots=True, kw_only=True)
class ClaimHistory:
    """The events of one claim, and the credits that it should have."""

    node: Address
    seq: int
    record: ClaimRecord | None = None  # None: its `Claimed` event is missing
    split: Split | None = None
    claimed_in: int = 0  # the block of its event
    claimed_by: Digest | None = None  # the transaction of its event
    datanets: Mapping[DatanetId, DatanetTerms] = field(default_factory=dict)  # of its pots, when it was claimed
    bonded_wei: int = 0  # by its node, when it was claimed
    proposed: Event | None = None
    draws: Draws = field(default_factory=Draws)
    credited: list[Credited] = field(default_factory=list)
    expected: list[Credited] | None = None  # None: not final, or not computable
    to: Beneficiaries | None = None  # when it became final
    is_final: bool = False
    is_late: bool = False
    released_wei: int | None = None

    @property
    def name(self) -> str:
        """The claim's name in faults."""
        return claim_name(self.node, self.seq)

    @property
    def record_word(self) -> int:
        """The storage word of its record, which is the record's hash."""
        return int(record_hash(self.record), 16) if self.record else -1

    @property
    def fee_wei(self) -> int:
        """The fee that its node owes, by its events."""
        if self.record is None or not self.is_final:
            return 0
        return fee_wei(self.record, self.payouts, is_late=self.is_late, num_redraws=self.draws.redraws)

    @property
    def payouts(self) -> list[Payout] | None:
        """Its payout list; None without a proposal."""
        return payouts_of(self.proposed) if self.proposed else None

    @property
    def roles(self) -> list[str]:
        """The term to which each of its credits counts, in order."""
        owners = iter(self.split.roles if self.split else ())
        return [
            next(owners, ADAPTER_OWNERS) if each.role == CreditRole.OWNER else TERMS[each.role]
            for each in self.credited
        ]


class ClaimReader:
    """Builds the histories of claims, and tracks what they depend on.

    That are registries, parameters and stakes.
    """

    def __init__(self, fixed: Fixed) -> None:
        self.fixed = fixed
        self.claims: dict[str, ClaimHistory] = {}
        self.registry = RegistryState()
        self.stakes = Stakes(fixed, self.registry)

    def read(self, event: Event) -> None:
        """Process the next event."""
        match event.name:
            case "Claimed" | "Proposed" | "Drawn" | "Credited" | "Finalized" | "Released":
                self._update(event)
            case _:
                self.stakes.read(event)
                register(self.registry, event)

    def _update(self, event: Event) -> None:
        node, seq = Address(text(event, "node")), integer(event, "seq")
        claim = self.claims.setdefault(claim_name(node, seq), ClaimHistory(node=node, seq=seq))
        match event.name:
            case "Claimed":
                self._claim(claim, event)
            case "Proposed":
                claim.proposed = event
            case "Drawn":
                claim.draws.draw(
                    integer(event, "drawBlock"),
                    mined_in=event.block.number,
                    redraw_blocks=self.fixed.windows["redrawBlocks"],
                )
            case "Credited":
                claim.credited.append(_credited(event))
            case "Finalized":
                claim.is_final, claim.is_late = True, bool(event.arguments["late"])
                self._finalize(claim, event.block.number)
            case "Released":
                claim.released_wei = amount_of(event)

    def _claim(self, claim: ClaimHistory, event: Event) -> None:
        """Add the record, and what it depends on that may change before the claim is final."""
        claim.record, claim.claimed_in = record_of(event), event.block.number
        claim.claimed_by, claim.bonded_wei = event.transaction_hash, self.stakes.bonded[claim.node]
        claim.split = check_split(claim.record, self.registry)
        known = self.registry.datanets
        claim.datanets = {
            pot.datanet_id: known[pot.datanet_id] for pot in claim.record.pots if pot.datanet_id in known
        }

    def _finalize(self, claim: ClaimHistory, block: int) -> None:
        """Compute the credits that the claim must make, independently of the contract."""
        record, payouts = claim.record, claim.payouts or []
        if record is None or (claim.proposed is None and not claim.is_late):
            return
        if payouts and any(pot.amount_wei for pot in record.pots) and not claim.is_late:
            claim.draws.show(block)
        redraws, to = claim.draws.redraws, self._beneficiaries(claim)
        claim.to = to
        if claim.is_late:
            claim.expected = late_amounts(record, to, is_proposed=claim.proposed is not None, num_redraws=redraws)
            return
        with suppress(ProtocolError, KeyError):
            claim.expected = payout_amounts(record, payouts, to, num_redraws=redraws)

    def _beneficiaries(self, claim: ClaimHistory) -> Beneficiaries:
        return Beneficiaries(
            node=claim.node,
            protocol=Address(self.fixed.treasury),
            treasuries={id_: terms.treasury for id_, terms in claim.datanets.items()},
        )


def read_all(events: Sequence[Event], fixed: Fixed) -> ClaimReader:
    """Process all events of a network."""
    reader = ClaimReader(fixed)
    for event in events:
        reader.read(event)
    return reader


def claim_name(node: str, seq: object) -> str:
    """The name of a claim in faults."""
    return f"{node}/{seq}"


def claim_faults(claim: ClaimHistory) -> list[str]:
    """List the faults of a claim's history."""
    if claim.record is None:
        return [f"claim {claim.name} has events, but none that it was made"]
    record = claim.record
    faults = [*(claim.split.faults if claim.split else ()), *claim.draws.faults]
    if record.claimed_block != claim.claimed_in:
        faults.append(f"its record names block {record.claimed_block}, and it was mined in {claim.claimed_in}")
    if claim.draws.redraws > redraws_max(record):
        faults.append(f"{claim.draws.redraws} draws lapsed, more than its node's share covers")
    if (parts := sum(record_parts(record).values())) != record.gross_wei:
        faults.append(f"its parts sum to {parts} wei, not to its gross of {record.gross_wei}")
    if claim.released_wei != (record.gross_wei if claim.is_final else None):
        faults.append(
            f"{claim.released_wei} of its {record.gross_wei} wei were released, and final is {claim.is_final}"
        )
    if claim.is_final and claim.expected is None:
        faults.append("it is final, and its events do not show whom it must credit")
    elif claim.credited != (claim.expected or []):
        faults.append("its credits differ from those computed from its record and payout list")
    return [f"claim {claim.name}: {fault}" for fault in faults]


def record_parts(record: ClaimRecord) -> dict[str, int]:
    """The parts into which a claim's gross is divided."""
    return {
        "protocol": record.protocol_wei,
        "credits": sum(credit.amount_wei for credit in record.credits),
        "pots": sum(pot.amount_wei for pot in record.pots),
        "nodeShare": record.node_share_wei,
    }


def register(registry: RegistryState, event: Event) -> None:
    """Apply a registry's or the parameters' announcement."""
    given: Any = event.arguments
    match event.name:
        case "AdapterRegistered":
            adapter = given["adapter"]
            ids = map(DatanetId, adapter["datanetIds"])
            registry.adapters[AdapterId(given["adapterId"])] = AdapterTerms(
                owner=Address(adapter["owner"]),
                royalty_ppm=adapter["royaltyPpm"],
                datanets=tuple(zip(ids, adapter["weightsPpm"], strict=True)),
            )
        case "AdapterRetired":
            adapter_id = AdapterId(given["adapterId"])
            if known := registry.adapters.get(adapter_id):
                registry.adapters[adapter_id] = replace(known, claimable_until_s=given["reclaimableAt"])
        case "DatanetCreated":
            registry.datanets[DatanetId(given["id"])] = DatanetTerms(
                owner=Address(given["owner"]), owner_ppm=given["ownerPpm"], treasury=Address(given["treasury"])
            )
        case "DatanetOwnerChanged":
            _change_owner(registry, DatanetId(given["id"]), Address(given["owner"]))
        case "ParamsQueued":
            values = given["values"]
            terms = EpochTerms(
                protocol_ppm=values["protocolPpm"],
                data_ppm=values["dataPpm"],
                min_stake_wei=values["minStake"],
            )
            registry.terms.append((given["fromEpoch"], terms))


def _change_owner(registry: RegistryState, datanet_id: DatanetId, owner: Address) -> None:
    if known := registry.datanets.get(datanet_id):
        registry.datanets[datanet_id] = DatanetTerms(owner=owner, owner_ppm=known.owner_ppm, treasury=known.treasury)


def _credited(event: Event) -> Credited:
    return Credited(
        account=Address(text(event, "account")),
        amount_wei=Wei(amount_of(event)),
        role=CreditRole(integer(event, "role")),
    )
