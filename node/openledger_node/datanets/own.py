"""A Datanet that this home keeps: what was offered to it, what it has taken in, and what of that was published.

Every change is pure and gives a new value; the service writes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from openledger_protocol.constants import PPM
from openledger_protocol.datanet import Row
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import ZERO_ADDRESS, Address, Digest, check_address, check_digest, check_name

from ..errors import NodeError
from .rows import find_clusters, rows_digest
from .version import DatanetVersion, account_of

DATANET_SCHEMA = "openledger.datanet/1"
ROWS_MAX = 2**20
"""Rows of one Datanet: an adapter's attribution index holds no more."""

LICENCE_LENGTH_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class RowBatch:
    """Rows that somebody offered, named by their digest, and the intake's figures about them at that moment."""

    digest: Digest
    rows: int
    contributors: int
    near_duplicates: int  # rows that resemble one before them, in the Datanet or in the batch
    of_others: int  # those of them that somebody else gave first, who is paid for them
    unpaid: int  # rows whose contributor has no address


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A version, and how many of the approved batches it holds."""

    version: str
    batches: int
    rows: int
    rows_root: Digest
    contributors_root: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Datanet:
    """The whole of `datanets/<name>/own/datanet.json`."""

    name: str
    licence: str
    treasury: Address
    owner_ppm: int
    accounts: dict[str, Address] = field(default_factory=dict)  # of contributors who are called by a name
    batches: tuple[RowBatch, ...] = ()  # in the order they came
    approved: tuple[Digest, ...] = ()  # in the order they were taken in
    versions: tuple[Published, ...] = ()
    schema: str = DATANET_SCHEMA

    @property
    def pending(self) -> tuple[RowBatch, ...]:
        """Batches that nobody has decided on."""
        return tuple(batch for batch in self.batches if batch.digest not in self.approved)


def new_datanet(name: str, *, licence: str, treasury: Address, owner_ppm: int) -> Datanet:
    """A Datanet without rows.

    Raises:
        MalformedError: naming what is not as it must be.
    """
    if not isinstance(licence, str) or not licence.strip() or len(licence) > LICENCE_LENGTH_MAX:
        raise MalformedError(f"a licence is a name like CC-BY-4.0, of at most {LICENCE_LENGTH_MAX} characters")
    if type(owner_ppm) is not int or not 0 <= owner_ppm <= PPM:
        raise MalformedError(f"an owner's share is from 0 to {PPM} parts per million, not {owner_ppm!r}")
    if check_address(treasury) == ZERO_ADDRESS:
        raise MalformedError("a treasury must be an account: what nobody is due goes there")
    return Datanet(name=check_name(name), licence=licence, treasury=check_address(treasury), owner_ppm=owner_ppm)


def has_terms_of(ours: Datanet, theirs: Datanet) -> bool:
    """Whether two have the same name, licence, treasury and owner's share."""
    terms = ((each.name, each.licence, each.treasury, each.owner_ppm) for each in (ours, theirs))
    return next(terms) == next(terms)


def name_accounts(datanet: Datanet, accounts: Mapping[str, Address]) -> Datanet:
    """Say at which addresses contributors are paid who are called by a name.

    Raises:
        NodeError: a published version pays one of them at another address.
        MalformedError: no name, or no address.
    """
    checked = {check_name(name): check_address(address) for name, address in accounts.items()}
    for name, address in checked.items():
        if account_of(name, {}) != ZERO_ADDRESS:
            raise MalformedError(f"{name} is an address itself, and is paid there")
        if datanet.versions and datanet.accounts.get(name, address) != address:
            raise NodeError(
                f"{name} is paid at {datanet.accounts[name]} by what {datanet.name} has published: "
                "let new rows name another contributor"
            )
    return replace(datanet, accounts={**datanet.accounts, **checked})


def offer(datanet: Datanet, earlier: Sequence[Row], rows: Sequence[Row]) -> Datanet:
    """Add a batch that waits for approval; `earlier` are the rows taken in so far.

    A batch that waits already is looked at anew.

    Raises:
        NodeError: it is taken in already, or is too large.
        MalformedError: a contributor looks like an address and is mistyped.
    """
    batch = look_at(rows, earlier, datanet.accounts)
    if batch.digest in datanet.approved:
        raise NodeError(f"these rows are in {datanet.name} already, as batch {batch.digest[:10]}")
    if len(earlier) + len(rows) > ROWS_MAX:
        raise NodeError(f"{datanet.name} has {len(earlier)} rows: with {len(rows)} more it is over {ROWS_MAX}")
    others = tuple(each for each in datanet.batches if each.digest != batch.digest)
    return replace(datanet, batches=(*others, batch))


def approve(datanet: Datanet, digest: Digest) -> Datanet:
    """Take a batch in, behind those that were; one that is in already stays where it is."""
    is_in = digest in datanet.approved
    return datanet if is_in else replace(datanet, approved=(*datanet.approved, digest))


def find_batch(datanet: Datanet, beginning: str) -> RowBatch:
    """A batch by the beginning of its digest.

    Raises:
        NodeError: none or several begin so.
    """
    found = [batch for batch in datanet.batches if batch.digest.startswith(beginning)]
    if len(found) != 1:
        raise NodeError(
            f"{len(found)} batches of {datanet.name} begin with {beginning!r}: "
            f"`openledger-node datanet show {datanet.name}` lists them"
        )
    return found[0]


def look_at(rows: Sequence[Row], earlier: Sequence[Row], accounts: Mapping[str, Address]) -> RowBatch:
    """The intake's figures about some rows that would come behind earlier ones."""
    joined = [*earlier, *rows]
    clusters = find_clusters(joined)
    copies = [(place, clusters[place]) for place in range(len(earlier), len(joined)) if clusters[place] != place]
    contributors = {row.contributor for row in rows}
    unpaid = {name for name in contributors if account_of(name, accounts) == ZERO_ADDRESS}
    return RowBatch(
        digest=rows_digest(rows),
        rows=len(rows),
        contributors=len(contributors),
        near_duplicates=len(copies),
        of_others=sum(joined[place].contributor != joined[first].contributor for place, first in copies),
        unpaid=sum(row.contributor in unpaid for row in rows),
    )


def note_version(datanet: Datanet, version: DatanetVersion, num_batches: int) -> Datanet:
    """Remember a version that holds the first `num_batches` approved batches; twice is once.

    Raises:
        NodeError: another one has taken this name meanwhile.
    """
    noted = Published(
        version=version.version,
        batches=num_batches,
        rows=len(version.rows),
        rows_root=version.rows_root,
        contributors_root=version.contributors_root,
    )
    if noted in datanet.versions:
        return datanet
    if any(each.version == noted.version for each in datanet.versions):
        raise NodeError(f"{datanet.name} has got another version {noted.version} meanwhile: say the verb again")
    return replace(datanet, versions=(*datanet.versions, noted))


def datanet_from_json(content: object) -> Datanet:
    """Read what the home keeps.

    Raises:
        MalformedError: it is not what was written.
    """
    found = _checked_fields(Datanet, content)
    batches = tuple(RowBatch(**_checked_fields(RowBatch, each)) for each in found["batches"])
    versions = tuple(Published(**_checked_fields(Published, each)) for each in found["versions"])
    approved = tuple(check_digest(each) for each in found["approved"])
    if found["schema"] != DATANET_SCHEMA or not set(approved) <= {check_digest(each.digest) for each in batches}:
        raise MalformedError("another schema, or a batch that was approved and never offered")
    datanet = new_datanet(
        found["name"], licence=found["licence"], treasury=found["treasury"], owner_ppm=found["owner_ppm"]
    )
    accounts = {check_name(name): check_address(account) for name, account in found["accounts"].items()}
    return replace(datanet, accounts=accounts, batches=batches, approved=approved, versions=versions)


def _checked_fields(cls: type[Any], content: object) -> dict[str, Any]:
    names = {each.name for each in fields(cls)}
    if not isinstance(content, dict) or set(content) != names:
        raise MalformedError(f"there must be {', '.join(sorted(names))}")
    return content
