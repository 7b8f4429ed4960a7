"""A Datanet owned here: its contributed batches, those that were approved, and its published versions.

Every change is pure and returns a new value, which `store` writes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from openledger_protocol.codec import canonical_digest
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import Row
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import ZERO_ADDRESS, Address, Digest, check_address, check_name

from ..errors import NodeError
from ..text import counted
from .about import Breach, DatanetAbout, breaches_text, find_breaches, policy_lines
from .appeals import Appeal, cleared
from .commitments import Committed
from .copy_notes import note_copies, note_taken
from .gate import BatchGate, GateNumber, base_number, measure_rows, policy_number, trial_number
from .rejections import RejectedRow
from .rows import rows_digest
from .verdicts import Verdicts, judge
from .version import account_of

DATANET_SCHEMA = "openledger.datanet/1"
ROWS_MAX = 2**20
"""Rows in one Datanet; an adapter's attribution index can hold no more."""

LICENCE_LENGTH_MAX = 64


BatchState = Literal["pending", "approved", "rejected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowBatch:
    """A contributed batch of rows, named by its digest, and the figures of its check at that moment."""

    digest: Digest
    rows: int
    contributors: int
    near_duplicates: int  # rows that resemble an earlier one in the Datanet or in the batch
    of_others: int  # those of them that resemble another contributor's row, who is paid for them
    unpaid: int  # rows whose contributor has no address to be paid at
    gate: BatchGate = field(default_factory=BatchGate)
    committed: Committed | None = None  # since when it is proven to exist; None: since a version holds it

    @property
    def rows_kept(self) -> int:
        """Its rows without those that the owner left out."""
        return self.rows - len(self.gate.rejected)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedRows:
    """Rows of a batch that may wait for approval."""

    digest: Digest
    rows: Sequence[Row]
    committed: Committed | None
    appeals: tuple[Appeal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published version and the number of approved batches in it."""

    version: str
    batches: int
    rows: int
    rows_root: Digest
    contributors_root: Digest
    withdrawn: int = 0  # rows that had been withdrawn before it, which it leaves out
    same_until: int = 0  # approved batches of which those after `batches` add no row to it; 0 if there are none


@dataclass(frozen=True, slots=True, kw_only=True)
class Datanet:
    """The whole of `datanets/<name>/own/datanet.json`."""

    name: str
    licence: str
    treasury: Address
    owner_ppm: int
    rules: tuple[int, ...] = ()  # that may divide its earnings; (): not registered yet
    accounts: dict[str, Address] = field(
        default_factory=dict
    )  # of contributors that have a name instead of an address
    batches: tuple[RowBatch, ...] = ()  # in the order of contribution
    approved: tuple[Digest, ...] = ()  # in the order of approval
    versions: tuple[Published, ...] = ()
    withdrawn: tuple[Digest, ...] = ()  # rows that later versions leave out, in the order of withdrawal
    about: DatanetAbout = field(default_factory=DatanetAbout)
    schema: str = DATANET_SCHEMA

    @property
    def pending(self) -> tuple[RowBatch, ...]:
        """Batches that wait for approval."""
        return tuple(batch for batch in self.batches if state_of(self, batch) == "pending")


def state_of(datanet: Datanet, batch: RowBatch) -> BatchState:
    """The state of a batch of a Datanet."""
    if batch.digest in datanet.approved:
        return "approved"
    return "rejected" if batch.gate.rejected_because else "pending"


def new_datanet(name: str, *, licence: str, treasury: Address, owner_ppm: int) -> Datanet:
    """Create a Datanet without rows.

    Raises:
        MalformedError: a term is invalid; the message names it.
    """
    if not isinstance(licence, str) or not licence.strip() or len(licence) > LICENCE_LENGTH_MAX:
        raise MalformedError(f"a licence is a name like CC-BY-4.0, of at most {LICENCE_LENGTH_MAX} characters")
    if type(owner_ppm) is not int or not 0 <= owner_ppm <= PPM:
        raise MalformedError(f"an owner's share is from 0 to {PPM} parts per million, not {owner_ppm!r}")
    if check_address(treasury) == ZERO_ADDRESS:
        raise MalformedError("the treasury must be an account: it receives the fees that no contributor is owed")
    return Datanet(name=check_name(name), licence=licence, treasury=check_address(treasury), owner_ppm=owner_ppm)


def has_terms_of(ours: Datanet, theirs: Datanet) -> bool:
    """Return True if both have the same name, licence, treasury and owner's share."""
    terms = ((each.name, each.licence, each.treasury, each.owner_ppm) for each in (ours, theirs))
    return next(terms) == next(terms)


def check_same_terms(found: Datanet, wanted: Datanet) -> Datanet:
    """Return `found` if it has the wanted terms.

    Raises:
        NodeError: its terms differ.
    """
    if has_terms_of(found, wanted):
        return found
    raise NodeError(
        f"your Datanet {found.name} has other terms: licence {found.licence}, treasury {found.treasury}, "
        f"owner's share {found.owner_ppm / 10_000:g} %; terms can't be changed, so choose another name"
    )


def add_batch(
    datanet: Datanet,
    earlier: Sequence[Sequence[Row]],
    rows: Sequence[Row],
    *,
    is_signed: bool = False,
    committed: Committed | None = None,
) -> Datanet:
    """Add a batch for approval; `earlier` are the whole batches approved so far.

    A batch that waits already is checked again.

    Raises:
        NodeError: it was approved already, is too large, holds a withdrawn row, or breaks the policy.
        MalformedError: a contributor looks like a mistyped address.
    """
    digest, num_earlier = rows_digest(rows), sum(map(len, earlier))
    if digest in datanet.approved:
        raise NodeError(f"these rows are in {datanet.name} already, as batch {digest[:10]}")
    if because := next((each.gate.rejected_because for each in datanet.batches if each.digest == digest), ""):
        raise NodeError(
            f"these rows were rejected from {datanet.name} as batch {digest[:10]} ({because}): correct them first, "
            "or approve that batch after all"
        )
    if datanet.withdrawn and (gone := set(datanet.withdrawn) & {canonical_digest(row) for row in rows}):
        raise NodeError(
            f"{counted(len(gone), 'row')} of this batch were withdrawn from {datanet.name}, and a withdrawal is for "
            "good: leave them out"
        )
    if num_earlier + len(rows) > ROWS_MAX:
        raise NodeError(f"{datanet.name} has {num_earlier} rows: with {len(rows)} more it would exceed {ROWS_MAX}")
    check_policy(datanet, earlier, dict(enumerate(rows, 1)), is_signed=is_signed)
    batch = check_batch(datanet, earlier, rows, is_signed=is_signed, committed=committed)
    others = tuple(each for each in datanet.batches if each.digest != batch.digest)
    return replace(datanet, batches=(*others, batch))


def check_policy(
    datanet: Datanet, earlier: Sequence[Sequence[Row]], rows: Mapping[int, Row], *, is_signed: bool
) -> None:
    """Check that rows keep the Datanet's policy; `earlier` are the whole batches approved so far.

    `rows` are by their numbers in their batch.

    Raises:
        NodeError: some don't; the message names the first ones with the limit that each breaks.
    """
    before = [row for batch in rows_left(datanet, earlier) for row in batch.values()]
    breaches = _breaches(datanet, before, rows, is_signed=is_signed)
    if breaches:
        raise NodeError(
            f"{counted(len(breaches), 'row')} of {len(rows):,} of this batch can't be taken by the policy of "
            f"{datanet.name} ({breaches_text(breaches)}): leave them out, or change the policy with "
            f"`openledger-node datanet describe {datanet.name}`"
        )


def approve(datanet: Datanet, digest: Digest) -> Datanet:
    """Approve a batch, after all earlier ones; an approved batch keeps its place."""
    is_approved = digest in datanet.approved
    return datanet if is_approved else replace(datanet, approved=(*datanet.approved, digest))


def judge_batch(batch: RowBatch, rejected: tuple[RejectedRow, ...] = (), because: str = "") -> RowBatch:
    """Replace what the owner has rejected of a batch: some rows, or with a reason the whole of it."""
    return replace(batch, gate=replace(batch.gate, rejected=rejected, rejected_because=because))


def find_batch(datanet: Datanet, beginning: str) -> RowBatch:
    """Find a batch by the beginning of its digest.

    Raises:
        NodeError: none or several begin with it.
    """
    found = [batch for batch in datanet.batches if batch.digest.startswith(beginning)]
    if len(found) != 1:
        raise NodeError(
            f"{len(found)} batches of {datanet.name} begin with {beginning!r}: "
            f"`openledger-node datanet show {datanet.name}` lists them"
        )
    return found[0]


def rows_left(datanet: Datanet, approved: Sequence[Sequence[Row]]) -> list[dict[int, Row]]:
    """The rows of the whole approved batches that were neither rejected nor withdrawn, by their numbers, from 1."""
    gone = set(datanet.withdrawn)
    return [
        {number: row for number, row in rows.items() if not gone or canonical_digest(row) not in gone}
        for rows in rows_compared(datanet, approved)
    ]


def rows_compared(datanet: Datanet, approved: Sequence[Sequence[Row]]) -> list[dict[int, Row]]:
    """The rows of the whole approved batches that others are compared with, by their numbers in their batch, from 1.

    Rejected rows own nothing. Withdrawn rows are among them, so a copy never becomes the owner by a withdrawal.
    `approved` may be fewer batches than were approved, of the first ones.
    """
    gates = {batch.digest: batch.gate for batch in datanet.batches}
    rejected = [{each.row for each in gates[digest].rejected} for digest in datanet.approved[: len(approved)]]
    return [
        {number: row for number, row in enumerate(rows, 1) if number not in left_out}
        for rows, left_out in zip(approved, rejected, strict=True)
    ]


def kept_rows(batch: RowBatch, rows: Sequence[Row]) -> dict[int, Row]:
    """The rows of a batch without those that the owner left out, by their numbers, from 1."""
    rejected = {each.row for each in batch.gate.rejected}
    return {number: row for number, row in enumerate(rows, 1) if number not in rejected}


def place_of(datanet: Datanet, digest: Digest) -> int:
    """The place of a batch among those approved, or after them."""
    return datanet.approved.index(digest) if digest in datanet.approved else len(datanet.approved)


def judge_rows(datanet: Datanet, approved: Sequence[Sequence[Row]], offered: OfferedRows | None = None) -> Verdicts:
    """Judge the rows of the whole approved batches, and of one that is offered after them."""
    committed = {each.digest: each.committed for each in datanet.batches}
    found = [committed[digest] for digest in datanet.approved]
    batches, appeals = rows_compared(datanet, approved), list(appeals_of(datanet))
    if offered and offered.digest not in datanet.approved:
        batches.append(dict(enumerate(offered.rows, 1)))
        found.append(offered.committed)
        appeals += offered.appeals
    return judge(batches, committed=found, withdrawn=datanet.withdrawn, cleared=cleared(appeals))


def check_batch(
    datanet: Datanet,
    approved: Sequence[Sequence[Row]],
    rows: Sequence[Row],
    *,
    is_signed: bool,
    committed: Committed | None = None,
) -> RowBatch:
    """Check the rows of a batch: copies, contributors, those that can't be paid, and the gate.

    `approved` are the whole batches approved so far, in which this one may be.
    """
    digest = rows_digest(rows)
    known = next((each for each in datanet.batches if each.digest == digest), None)
    before, committed = known.gate if known else BatchGate(), committed or (known.committed if known else None)
    offered = OfferedRows(digest=digest, rows=rows, committed=committed, appeals=before.appeals)
    verdicts, place = judge_rows(datanet, approved, offered), place_of(datanet, digest)
    ours = verdicts.of_batch(place)
    duplicates = sum(verdicts.copies[each] is not None for each in ours)
    of_others = sum(verdicts.owner_of(each) is not None for each in ours)
    earlier = [row for left in rows_left(datanet, approved[:place]) for row in left.values()]
    contributors = {row.contributor for row in rows}
    unpaid = {name for name in contributors if account_of(name, datanet.accounts) == ZERO_ADDRESS}
    digests = (*datanet.approved, digest)  # if it is approved, the last one is not asked for
    return RowBatch(
        digest=digest,
        rows=len(rows),
        contributors=len(contributors),
        near_duplicates=duplicates,
        of_others=of_others,
        unpaid=sum(row.contributor in unpaid for row in rows),
        gate=replace(
            before,
            numbers=_with_model_numbers(
                (
                    *measure_rows(rows, earlier, duplicates=duplicates, of_others=of_others),
                    *_policy_number(
                        datanet,
                        earlier,
                        kept_rows(known, rows) if known else dict(enumerate(rows, 1)),
                        is_signed=is_signed,
                    ),
                ),
                before,
            ),
            copies=note_copies(verdicts, digests, place),
            taken=note_taken(verdicts, digests, place),
            approved_before=place,
        ),
        committed=committed,
    )


def _policy_number(
    datanet: Datanet, earlier: Sequence[Row], rows: Mapping[int, Row], *, is_signed: bool
) -> tuple[GateNumber, ...]:
    """The number of rows that break the policy; none if the Datanet has no policy."""
    lines = policy_lines(datanet.about.policy)
    if not lines:
        return ()
    breaches = _breaches(datanet, earlier, rows, is_signed=is_signed)
    note = breaches_text(breaches, most=1) if breaches else "; ".join(lines)
    return (policy_number(len(breaches), note),)


def _breaches(datanet: Datanet, earlier: Sequence[Row], rows: Mapping[int, Row], *, is_signed: bool) -> list[Breach]:
    policy, given, numbers = datanet.about.policy, tuple(rows.values()), tuple(rows)
    found = find_breaches(policy, given, earlier=earlier, accounts=datanet.accounts, is_signed=is_signed)
    return [replace(each, row=numbers[each.row - 1]) for each in found]


def appeals_of(datanet: Datanet) -> tuple[Appeal, ...]:
    """The appeals for rows of approved batches, in the order of approval."""
    gates = {batch.digest: batch.gate for batch in datanet.batches}
    return tuple(appeal for digest in datanet.approved for appeal in gates[digest].appeals)


def replace_batch(datanet: Datanet, batch: RowBatch) -> Datanet:
    """Replace the record of a batch in its place."""
    batches = tuple(batch if each.digest == batch.digest else each for each in datanet.batches)
    return replace(datanet, batches=batches)


def _with_model_numbers(numbers: tuple[GateNumber, ...], before: BatchGate) -> tuple[GateNumber, ...]:
    """Add the numbers that a model has measured, or that none has."""
    measured = {each.name: each for each in before.numbers}
    for number in (base_number(None), trial_number(None, None)):
        numbers = (*numbers, measured.get(number.name, number))
    return numbers
