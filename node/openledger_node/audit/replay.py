"""A replay: what the last epochs would have paid with other values, to the wei, from the chain alone.

Every final claim is split twice: by the values that were in force, which must give exactly what the chain paid, and
by the others. It is history and no forecast, because with other values people would have acted otherwise.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from openledger_protocol.chain import ContractCall
from openledger_protocol.eip712 import payments_domain
from openledger_protocol.epoch import Params
from openledger_protocol.errors import RevertedError
from openledger_protocol.events import Event
from openledger_protocol.primitives import Address

from ..chain.contract_values import params_of
from ..chain.contracts import explain_revert, load_contract
from ..errors import ChainError, ConfigError
from .chain import PinnedChain
from .claim_lines import Lines, OpaqueClaimError, lines_of, lines_of_input
from .claims import ClaimHistory, ClaimReader, claim_name, read_all
from .events import EventLog, text
from .minima import Minimum, find_minima
from .report import read_fixed
from .resplit import ROLES, SplitSums, difference_from_chain, split_claim
from .staking import Stakes

EPOCHS: Final = 14
"""As many as there must be between two changes of shares."""

NEWEST_EPOCH: Final = 2**63
"""An epoch after all others: the values that were queued last hold in it."""

READ: Final = (
    "Params",
    "NodeStaking",
    "DatanetRegistry",
    "ModelRegistry",
    "PaymentChannels",
    "AttributionRewards",
)
"""Contracts whose events a replay reads; others have events of the same names."""

IMPOSSIBLE: Final = ("OutOfBounds", "UnknownAlgorithm")
"""Errors of Params for values that no vote can set; its other errors are of time and of steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsplitClaim:
    """A claim whose split the chain does not tell."""

    claim: str
    gross_wei: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimCount:
    """Claims, and the sum of their gross."""

    num_claims: int
    gross_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The result of a replay; `was` and `would` have the same gross."""

    network: str
    block: int
    first_epoch: int
    last_epoch: int
    newest: Params  # values that were queued last
    changes: Mapping[str, int]  # by field of Params
    refusal: str | None  # why the contract would not take these values just now
    num_claims: int
    gross_wei: int
    was: SplitSums
    would: SplitSums
    minima: Sequence[Minimum]
    refused: ClaimCount  # of nodes that had less than the other minimum of stake
    waiting: ClaimCount  # not final yet
    left_out: Sequence[UnsplitClaim]

    @property
    def left_out_wei(self) -> int:
        """The gross of claims that are left out."""
        return sum(each.gross_wei for each in self.left_out)


def replay(
    chain: PinnedChain,
    events: Sequence[Event],
    changes: Mapping[str, int],
    epochs: int = EPOCHS,
    *,
    last: int | None = None,
) -> Replay:
    """Replay the claims of `epochs` epochs up to `last`, by default the current one.

    `changes` are values by their field of Params. Those that are not named stay as they were in each epoch. What is
    not in `events`, which begin with the network, has not happened.

    Raises:
        ConfigError: the contract refuses such values in any case.
        ChainError: a claim that is split by the values of its time differs from what the chain paid; or the endpoint
            does not answer.
    """
    newest = _values_at(chain, NEWEST_EPOCH)
    refusal = _refusal(chain, _changed(newest, changes))
    log, reader, epoch_s = _read(chain, events)
    last = chain.block.timestamp_s // epoch_s if last is None else last
    first = max(0, last - epochs + 1)
    claims = [claim for claim in reader.claims.values() if first <= _record(claim).epoch <= last]
    was, would, left_out = _split_all(chain, log, reader, [claim for claim in claims if claim.is_final], changes)
    return Replay(
        network=chain.network.network,
        block=chain.block.number,
        first_epoch=first,
        last_epoch=last,
        newest=newest,
        changes=changes,
        refusal=refusal,
        num_claims=sum(claim.is_final for claim in claims) - len(left_out),
        gross_wei=sum(was.gross.values()),
        was=was,
        would=would,
        minima=find_minima(chain, log, reader.stakes, newest, changes, since_s=first * epoch_s),
        refused=_count(claim for claim in claims if claim.bonded_wei < changes.get("min_stake_wei", 0)),
        waiting=_count(claim for claim in claims if not claim.is_final),
        left_out=left_out,
    )


def _read(chain: PinnedChain, events: Sequence[Event]) -> tuple[EventLog, ClaimReader, int]:
    """Read all claims, and the length of an epoch."""
    fixed, read = read_fixed(chain), {chain.contracts[name] for name in READ}
    log = EventLog([event for event in events if event.contract in read])
    return log, read_all(log.events, fixed), fixed.windows["epoch"]


def _record(claim: ClaimHistory) -> Any:
    if claim.record is None:
        raise ChainError(f"claim {claim.name} has events, but none that it was made: try another endpoint")
    return claim.record


def _count(claims: Iterable[ClaimHistory]) -> ClaimCount:
    gross = [_record(claim).gross_wei for claim in claims]
    return ClaimCount(num_claims=len(gross), gross_wei=sum(gross))


def _split_all(
    chain: PinnedChain, log: EventLog, reader: ClaimReader, claims: Sequence[ClaimHistory], changes: Mapping[str, int]
) -> tuple[SplitSums, SplitSums, list[UnsplitClaim]]:
    """Split each claim by the values of its epoch and by the others, and add them up."""
    was, would, left_out = SplitSums(), SplitSums(), []
    stakers: dict[str, tuple[int, int]] = {}
    values, read_lines = cache(lambda epoch: _values_at(chain, epoch)), _line_reader(chain, log, reader)
    for claim in claims:
        try:
            lines = read_lines(claim)
        except OpaqueClaimError as error:
            left_out.append(UnsplitClaim(claim=claim.name, gross_wei=_record(claim).gross_wei, why=str(error)))
            continue
        params = values(_record(claim).epoch)
        before = split_claim(claim, lines, params, reader.registry.adapters)
        if difference := difference_from_chain(claim, before):
            raise ChainError(
                f"claim {claim.name} can't be replayed: by the values of its time, {difference} would be other than "
                "what the chain paid. Audit the network, as docs/how-to/audit-a-network.md says"
            )
        after = split_claim(claim, lines, _changed(params, changes), reader.registry.adapters)
        was.add(before, lines)
        would.add(after, lines)
        stakers[claim.name] = before.stakers_wei, after.stakers_wei
    was.staked, would.staked = _by_stake(log, stakers)
    sums = {sum(part.values()) for part in (was.gross, was.roles, would.roles)}
    assert len(sums) == 1, "every split sums to its gross"
    return was, would, left_out


def _by_stake(log: EventLog, stakers: Mapping[str, tuple[int, int]]) -> tuple[Counter[str], Counter[str]]:
    """Divide the stakers' parts of claims by the stakes that were bonded when each became final."""
    was, would = Stakes(), Stakes()
    for event in log.events:
        if event.name == "Finalized":
            for stakes, amount in zip((was, would), stakers.get(_claim_of(event), (0, 0)), strict=True):
                if amount:
                    stakes.notify(amount)
        elif event.name not in ("RewardsNotified", "RewardsPaid"):
            was.read(event)
            would.read(event)
    return Counter(was.earned()), Counter(would.earned())


def _claim_of(event: Event) -> str:
    return claim_name(text(event, "node"), event.arguments["seq"])


def _line_reader(chain: PinnedChain, log: EventLog, reader: ClaimReader) -> Callable[[ClaimHistory], Lines]:
    """Return a function that finds the gross of each adapter in a claim."""
    domain = payments_domain(chain.network.chain_id, chain.contracts["PaymentChannels"])
    skipped: dict[str, list[Event]] = {}
    for event in log.of("Skipped"):
        skipped.setdefault(event.transaction_hash, []).append(event)

    def read(claim: ClaimHistory) -> Lines:
        record = _record(claim)

        def read_items() -> Lines:
            assert claim.claimed_by is not None, "a claim with a record has its event"
            sent, others = chain.input_of(claim.claimed_by), skipped.get(claim.claimed_by, [])
            return lines_of_input(sent, record, others, domain)

        return lines_of(record, reader.registry, read_items)

    return read


def _changed(params: Params, changes: Mapping[str, Any]) -> Params:
    return replace(params, **changes)


def _values_at(chain: PinnedChain, epoch: int) -> Params:
    return params_of(chain.ask("Params", "valuesAt", epoch))


def _refusal(chain: PinnedChain, params: Params) -> str | None:
    """The reason why Params would refuse these values at this block, if a vote set them.

    Raises:
        ConfigError: it would refuse them at any time.
    """
    call = ContractCall(to=chain.contracts["Params"], data=load_contract("Params").encode("set", params))
    try:
        chain.simulate(call, sender=Address(chain.ask("Params", "governor")))
    except RevertedError as error:
        found = explain_revert(error)
        if found.name in IMPOSSIBLE:
            raise ConfigError(f"no vote can set this: {found}") from error
        return str(found)
    return None


# ---- pairs of sums


def moved(was: Mapping[str, int], would: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Pair the sums of two tallies, the largest first."""
    names = sorted({*was, *would}, key=lambda name: (-was.get(name, 0), -would.get(name, 0), name))
    return {name: (was.get(name, 0), would.get(name, 0)) for name in names}


def moved_roles(found: Replay) -> dict[str, tuple[int, int]]:
    """Pair the sums of each role."""
    return {role: (found.was.roles[role], found.would.roles[role]) for role in ROLES}
