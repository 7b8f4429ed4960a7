"""Check that a claim's record divides its gross by the registries and parameters of its time.

An adapter's gross is known from its pots. The base, and adapters without a Datanet, have no pots: the fees on their
joint gross are checked within rounding, and a royalty must be one that an owner of such an adapter can have earned.
Their money fills the gaps on the claim's line, which is in the order of the adapters.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from openledger_protocol.claims import AdapterTerms, DatanetTerms, is_claimable, part_down
from openledger_protocol.constants import CLAIM_ADAPTERS_MAX
from openledger_protocol.primitives import BASE_ONLY, AdapterId, Address, DatanetId, Wei
from openledger_protocol.settlement import ClaimRecord, Credit, Pot

ADAPTER_OWNERS, DATANET_OWNERS = "adapter_owners", "datanet_owners"
WITHOUT_DATANETS = "the base and adapters without a Datanet"


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochTerms:
    """Values of an epoch: the shares of every fee in ppm, and the stake that limits a slash."""

    protocol_ppm: int
    data_ppm: int
    min_stake_wei: int


@dataclass(slots=True, kw_only=True)
class RegistryState:
    """Registries and parameters at one point of the chain."""

    adapters: dict[AdapterId, AdapterTerms] = field(default_factory=dict)
    datanets: dict[DatanetId, DatanetTerms] = field(default_factory=dict)
    terms: list[tuple[int, EpochTerms]] = field(
        default_factory=list
    )  # (first epoch, terms); the last one that applies counts

    def terms_at(self, epoch: int) -> EpochTerms:
        """The terms that apply to an epoch.

        Raises:
            KeyError: none were announced.
        """
        for first, terms in reversed(self.terms):
            if first <= epoch:
                return terms
        raise KeyError(epoch)

    def lane_keys(self) -> dict[str, str]:
        """Every adapter with a lane, the base among them, and the key of its gross in `gross_by_adapter`."""
        keys = {str(id_): str(id_) if row.datanets else WITHOUT_DATANETS for id_, row in self.adapters.items()}
        return {BASE_ONLY: WITHOUT_DATANETS, **keys}


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The role of each of a record's credits, and the record's faults."""

    roles: tuple[str, ...]
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owed:
    account: Address
    amount: int
    role: str


def gross_by_adapter(record: ClaimRecord) -> dict[str, int]:
    """A claim's gross by adapter, as far as its pots tell; the rest is under `WITHOUT_DATANETS`."""
    known = {str(pot.adapter_id): int(pot.gross_wei) for pot in record.pots}
    return {**known, WITHOUT_DATANETS: record.gross_wei - sum(known.values())}


def check_split(record: ClaimRecord, registry: RegistryState) -> Split:
    """Recompute a record as far as its pots allow."""
    groups = [list(pots) for _, pots in groupby(record.pots, key=lambda pot: pot.adapter_id)]
    try:
        terms = registry.terms_at(record.epoch)
        owed = [each for pots in groups for each in _owed_with(pots, terms, registry)]
        expected = [pot for pots in groups for pot in _pots_like(pots[0], terms, registry)]
    except KeyError:
        return Split(
            roles=(ADAPTER_OWNERS,) * len(record.credits),
            faults=("it uses an adapter, a Datanet or parameters that no event has announced",),
        )
    gross = [pots[0].gross_wei for pots in groups]
    roles, unfound, others = _match(record, owed)
    faults = [f"{each.amount} wei for {each.account} ({each.role}) are missing" for each in unfound]
    dead = {
        pot.adapter_id
        for pot in record.pots
        if not is_claimable(registry.adapters[pot.adapter_id], record.claimed_at_s)
    }
    faults += [f"it claims for adapter {each}, which was retired and whose bond was free" for each in sorted(dead)]
    faults += _royalty_faults(others, record.gross_wei - sum(pots[0].gross_wei for pots in groups), registry)
    if tuple(expected) != record.pots:
        faults.append("its pots differ from those computed from its adapters' Datanets and weights")
    if not _is_a_line(groups, record.gross_wei, registry):
        faults.append("its pots do not follow one another on its line")
    faults += _fee_faults("protocol", record.protocol_wei, terms.protocol_ppm, record.gross_wei, gross)
    return Split(roles=roles, faults=tuple(faults))


def _owed_with(pots: Sequence[Pot], terms: EpochTerms, registry: RegistryState) -> Iterator[_Owed]:
    """The amounts owed to an adapter's owner and then to the owners of its Datanets."""
    adapter = registry.adapters[pots[0].adapter_id]
    royalty = part_down(pots[0].gross_wei, adapter.royalty_ppm)
    owed = [_Owed(account=adapter.owner, amount=royalty, role=ADAPTER_OWNERS)]
    for whole, datanet in _shares(pots[0], terms, registry).values():
        cut = part_down(whole, datanet.owner_ppm)
        owed.append(_Owed(account=datanet.owner, amount=cut, role=DATANET_OWNERS))
    return (each for each in owed if each.amount)


def _pots_like(pot: Pot, terms: EpochTerms, registry: RegistryState) -> Iterator[Pot]:
    """Recompute all pots of the adapter that one pot belongs to."""
    for datanet_id, (whole, datanet) in _shares(pot, terms, registry).items():
        yield Pot(
            start_wei=pot.start_wei,
            adapter_id=pot.adapter_id,
            datanet_id=datanet_id,
            gross_wei=pot.gross_wei,
            amount_wei=Wei(whole - part_down(whole, datanet.owner_ppm)),
        )


def _is_a_line(groups: Sequence[Sequence[Pot]], gross: int, registry: RegistryState) -> bool:
    """True if the pots' adapters ascend end to end, with gaps only where one without pots can be between them."""
    bare = [int(id_, 16) for id_, key in registry.lane_keys().items() if key == WITHOUT_DATANETS]
    places = [(int(pots[0].adapter_id, 16), pots[0].start_wei, pots[0].gross_wei) for pots in groups]
    before, end = -1, 0
    for adapter, start, amount in [*places, (2**256, gross, 0)]:
        has_room = any(before < each < adapter for each in bare)
        if adapter <= before or start < end or (start > end and not has_room):
            return False
        before, end = adapter, start + amount
    return True


def _shares(pot: Pot, terms: EpochTerms, registry: RegistryState) -> Mapping[DatanetId, tuple[int, DatanetTerms]]:
    """The earnings of each of an adapter's Datanets, its owner's part included."""
    data = part_down(pot.gross_wei, terms.data_ppm)
    weights = registry.adapters[pot.adapter_id].datanets
    return {id_: (part_down(data, weight), registry.datanets[id_]) for id_, weight in weights}


def _match(record: ClaimRecord, owed: Sequence[_Owed]) -> tuple[tuple[str, ...], Sequence[_Owed], Sequence[Credit]]:
    """Match credits with owed amounts: return roles, owed amounts without a credit, and unexplained credits.

    Owed amounts come in order; royalties of adapters without pots are between them.
    """
    left, roles, others = list(owed), [], []
    for credit in record.credits:
        if left and (credit.account, credit.amount_wei) == (left[0].account, left[0].amount):
            roles.append(left.pop(0).role)
        else:
            roles.append(ADAPTER_OWNERS)
            others.append(credit)
    return tuple(roles), left, others


def _royalty_faults(credits: Sequence[Credit], gross: int, registry: RegistryState) -> list[str]:
    """Check royalties of adapters without a Datanet, whose gross is known only together with the base's."""
    most = {
        each.owner: part_down(gross, each.royalty_ppm)
        for each in sorted(registry.adapters.values(), key=lambda each: each.royalty_ppm)
        if not each.datanets
    }  # an owner's highest royalty comes last, and stays
    return [
        f"{credit.account} gets {credit.amount_wei} wei, but no adapter owes that account so much"
        for credit in credits
        if credit.amount_wei > most.get(credit.account, 0)
    ]


def _fee_faults(name: str, found: int, ppm: int, gross: int, known: Sequence[int]) -> list[str]:
    """Check a fee, which is rounded down for each adapter, so that unknown ones lose less than a wei each."""
    sure = sum(part_down(each, ppm) for each in known)
    most = sure + part_down(gross - sum(known), ppm)
    least = max(sure, most - CLAIM_ADAPTERS_MAX + 1)
    return [] if least <= found <= most else [f"its {name} share is {found} wei, not {least} to {most}"]
