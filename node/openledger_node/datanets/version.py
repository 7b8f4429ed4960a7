"""A Datanet's version on disk: the account of each row, and the near-duplicates among the rows.

A version made here has names that only this data directory knows. One that the chain has published is stored by the
Datanet's id on the chain and its rows, because two owners may both call a Datanet `lake`.

It comes from the Datanet's owner, never from an adapter's author, who would name themselves. Rows are in the order of
their approval. Fees for rows of a contributor without an address go to the Datanet's treasury.
"""

import contextlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from eth_hash.auto import keccak

from openledger_protocol.adapter import DatanetReference
from openledger_protocol.codec import canonical_digest, to_plain
from openledger_protocol.curation import CURATORS_MAX, VersionDecision, check_decision, decision_from_json
from openledger_protocol.datanet import Row
from openledger_protocol.eip712 import address_word, type_hash
from openledger_protocol.errors import BadSignatureError, MalformedError
from openledger_protocol.merkle import Tree
from openledger_protocol.offer import RowOffer, check_offer, offer_commitment, offer_from_json
from openledger_protocol.primitives import (
    ZERO_ADDRESS,
    Address,
    DatanetId,
    Digest,
    check_address,
    check_digest,
    check_name,
)

from ..errors import ConfigError, NodeError
from ..home import Home, write_private
from .appeals import DecidedAppeal, check_reason
from .commitments import ShownCommitment, commitments_from_json
from .copies import clusters_of, find_copies
from .gate import checked_fields
from .rows import rows_digest

VERSION_SCHEMA = "openledger.datanet_version/1"
TAG_CONTRIBUTOR = type_hash("openledger.contributor-leaf/1")
ADDRESS_LENGTH = len(ZERO_ADDRESS)
LATER = ("offers", "appeals", "commitments", "decisions")
"""Fields that a version lacks if they are empty, so that nodes from before they existed can read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedRow:
    """One row of a version."""

    digest: Digest  # of its canonical JSON
    account: Address  # of its contributor; zero: the contributor has no address
    cluster: int  # the place of the first row that it resembles, or its own


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionLabel:
    """A version's names, which mean nothing on another machine, and its rows."""

    id: str  # the Datanet's name
    version: str
    rows_root: Digest
    on_chain: DatanetId | None = None  # of a Datanet that another operator owns


@dataclass(frozen=True, slots=True, kw_only=True)
class DatanetVersion:
    """The whole of a version's file."""

    id: str  # the Datanet's name where the version was made
    version: str
    rows_root: Digest
    contributors_root: Digest
    rows: tuple[OwnedRow, ...]
    offers: tuple[RowOffer, ...] = ()  # signed by contributors; rows of others are vouched for by the owner alone
    appeals: tuple[DecidedAppeal, ...] = ()  # of its rows, against being a copy
    commitments: tuple[ShownCommitment, ...] = ()  # that some of the offers reveal
    policy: Digest | None = None  # of the policy under which it was made; None: it had none
    decisions: tuple[VersionDecision, ...] = ()  # of the Datanet's curators on this version
    schema: str = VERSION_SCHEMA

    @property
    def label(self) -> VersionLabel:
        """Its names and rows."""
        return VersionLabel(id=self.id, version=self.version, rows_root=self.rows_root)


def make_version(
    id: str,
    version: str,
    rows: Sequence[Row],
    accounts: Mapping[str, Address] | None = None,
    offers: Sequence[RowOffer] = (),
    *,
    clusters: Sequence[int] | None = None,
    appeals: Sequence[DecidedAppeal] = (),
    policy: Digest | None = None,
    commitments: Sequence[ShownCommitment] = (),
) -> DatanetVersion:
    """Make a version that names the account of each row; `accounts` holds those of named contributors.

    `clusters`: for each row the first one that it copies; by default that of rows which came as one batch. Offers and
    appeals for none of the rows are dropped, and commitments of no offer.

    Raises:
        MalformedError: the id or version is not a name, or a contributor looks like a mistyped address.
    """
    known = accounts or {}
    found = {name: account_of(name, known) for name in {row.contributor for row in rows}}
    clusters = clusters_of(find_copies([rows])) if clusters is None else clusters
    digests = [canonical_digest(row) for row in rows]
    ours = set(digests)
    kept = tuple(offer for offer in offers if not ours.isdisjoint(offer.rows))
    revealed = {offer_commitment(offer) for offer in kept} if commitments else set()
    return DatanetVersion(
        id=check_name(id),
        version=check_name(version),
        rows_root=rows_digest(rows),
        contributors_root=contributors_root(found.values()),
        rows=tuple(
            OwnedRow(digest=digest, account=found[row.contributor], cluster=cluster)
            for row, digest, cluster in zip(rows, digests, clusters, strict=True)
        ),
        offers=kept,
        appeals=tuple(each for each in appeals if each.digest in ours),
        commitments=tuple(each for each in commitments if each.commitment in revealed),
        policy=policy,
    )


def account_of(contributor: str, accounts: Mapping[str, Address]) -> Address:
    """The account that is paid for a contributor's rows: the name's, the address itself, or zero for none.

    Raises:
        MalformedError: the contributor looks like a mistyped address.
    """
    if known := accounts.get(contributor):
        return known
    is_address = contributor.startswith("0x") and len(contributor) == ADDRESS_LENGTH
    return check_address(contributor) if is_address else ZERO_ADDRESS


def contributors_root(accounts: Iterable[Address]) -> Digest:
    """The root of the tree over all accounts but zero, each once, ascending; zero if there are none.

    A leaf is keccak(keccak(tag ‖ address word)) in a tree like that of a claim's receipts. Two neighbouring leaves
    prove that an account between them is missing.
    """
    distinct = sorted({account for account in accounts if account != ZERO_ADDRESS}, key=str.lower)
    return Tree.of([keccak(keccak(TAG_CONTRIBUTOR + address_word(account))) for account in distinct]).root


def version_file(home: Home, id: str, version: str) -> Path:
    """The path of a version that was made here."""
    return home.datanets / check_name(id) / f"{check_name(version)}.json"


def keep_version(home: Home, version: DatanetVersion) -> DatanetVersion:
    """Write a version into the data directory unless it is there; an existing one keeps the accounts that it names.

    Raises:
        ConfigError: a version of this name exists with other rows.
        NodeError: the data directory can't be written to, or the existing version is damaged.
    """
    file = version_file(home, version.id, version.version)
    if not file.exists():
        write_version(home, version)
        return version
    found = read_version(home, version.id, version.version)
    if found.rows_root != version.rows_root:
        raise ConfigError(
            f"{file} has other rows, and adapters may have been trained on them: "
            "give the new rows another version, or delete that file"
        )
    return found


def write_version(home: Home, version: DatanetVersion) -> Path:
    """Write a version into the data directory through a temporary file, replacing any of its name.

    Raises:
        NodeError: the data directory can't be written to.
    """
    return _write(version_file(home, version.id, version.version), version)


def published_file(home: Home, datanet_id: DatanetId, rows_root: Digest) -> Path:
    """The path of a version that the chain has published."""
    return home.datanets / check_digest(datanet_id) / f"{check_digest(rows_root)}.json"


def write_published(home: Home, datanet_id: DatanetId, version: DatanetVersion) -> Path:
    """Write a version that a Datanet has published, replacing one of the same rows.

    Raises:
        NodeError: the data directory can't be written to.
    """
    return _write(published_file(home, datanet_id, version.rows_root), version)


def read_version(home: Home, id: str, version: str) -> DatanetVersion:
    """Read a version from the data directory.

    Raises:
        NodeError: there is none, or it is damaged.
    """
    file = version_file(home, id, version)
    found = _read(file, f"version {version} of Datanet {id}")
    if (found.id, found.version) != (id, version):
        raise NodeError(f"{file} is of version {found.version} of Datanet {found.id}: delete it")
    return found


def read_published(home: Home, datanet: DatanetReference) -> DatanetVersion:
    """Read a version that the chain has published, as an adapter's manifest names it.

    Raises:
        NodeError: it is not here, or it is damaged.
    """
    return _read_published(home, datanet.id, datanet.rows_root, f"version {datanet.version} of Datanet {datanet.id}")


def read_published_rows(home: Home, datanet_id: DatanetId, rows_root: Digest) -> tuple[OwnedRow, ...]:
    """Read the rows' digests and owners of a version that the chain has published.

    Raises:
        NodeError: it is not here, or it is damaged.
    """
    return _read_published(home, datanet_id, rows_root, f"the version of Datanet {datanet_id}").rows


def published_versions(home: Home, datanet_id: DatanetId) -> list[DatanetVersion]:
    """Read the versions of a Datanet on the chain that are here; damaged files are left out."""
    found = []
    for file in sorted((home.datanets / check_digest(datanet_id)).glob("*.json")):
        with contextlib.suppress(NodeError):
            found.append(_read(file, "a version"))
    return found


def find_made_here(home: Home, rows_root: Digest) -> list[DatanetVersion]:
    """Find the versions with these rows that were made here, under whatever names; damaged files are left out."""
    found = []
    for file in sorted(home.datanets.glob("*/*.json")):
        with contextlib.suppress(NodeError):
            found.append(_read(file, "a version"))
    return [version for version in found if version.rows_root == rows_root]


def version_from_json(content: object, *, is_signed: bool = False) -> DatanetVersion:
    """Read a version that may come from a stranger; `is_signed`: `check_signed` is called at another time.

    Raises:
        MalformedError: the schema differs, a field is unknown, missing or malformed, or the contributors_root does
            not match the rows' accounts, an offer, an appeal or a commitment is for nothing in it, or a decision is
            on another version.
        BadSignatureError: an offer is not signed by its account, or a decision by its curator.
    """
    later: dict[str, object] = {**{name: [] for name in LATER}, "policy": None}  # a version may lack them
    found = _checked_fields(DatanetVersion, {**later, **content} if isinstance(content, dict) else content)
    if found["schema"] != VERSION_SCHEMA:
        raise MalformedError(f"a version has schema {repr(found['schema'])[:80]}, not {VERSION_SCHEMA!r}")
    if not isinstance(found["rows"], list):
        raise MalformedError("a version's rows must be a list")
    rows = tuple(_row_from_json(place, row) for place, row in enumerate(found["rows"]))
    if any(rows[row.cluster].cluster != row.cluster for row in rows):
        raise MalformedError("a row's cluster must be the place of a row that resembles no earlier one")
    if contributors_root(row.account for row in rows) != check_digest(found["contributors_root"]):
        raise MalformedError("a version's contributors_root does not match its rows' accounts")
    offers = _offers_from_json(found["offers"], {row.digest: row.account for row in rows})
    version = DatanetVersion(
        id=check_name(found["id"]),
        version=check_name(found["version"]),
        rows_root=check_digest(found["rows_root"]),
        contributors_root=found["contributors_root"],
        rows=rows,
        offers=offers,
        appeals=_appeals_from_json(found["appeals"], {row.digest for row in rows}, len(rows)),
        commitments=commitments_from_json(found["commitments"], offers),
        policy=None if found["policy"] is None else check_digest(found["policy"]),
        decisions=_decisions_from_json(found["decisions"], (found["rows_root"], found["contributors_root"])),
    )
    return version if is_signed else check_signed(version)


def join_decisions(version: DatanetVersion, kept: DatanetVersion) -> DatanetVersion:
    """Add the decisions with which the same rows were kept before; a newer one of the same curator replaces it."""
    if (kept.rows_root, kept.contributors_root) != (version.rows_root, version.contributors_root):
        return version
    known = {(each.chain_id, each.contract, each.curator) for each in version.decisions}
    others = [each for each in kept.decisions if (each.chain_id, each.contract, each.curator) not in known]
    return replace(version, decisions=(*version.decisions, *others)[:CURATORS_MAX])


def check_signed(version: DatanetVersion) -> DatanetVersion:
    """Return a version whose offers and decisions were signed by their accounts.

    Each signature takes as long as a thousand rows.

    Raises:
        BadSignatureError: an offer is not signed by its account.
        MalformedError: a signature is no signature, or an offer has another consent.
    """
    for offer in version.offers:
        check_offer(offer)
    for decision in version.decisions:
        check_decision(decision)
    return version


def _read_published(home: Home, datanet_id: DatanetId, rows_root: Digest, what: str) -> DatanetVersion:
    file = published_file(home, datanet_id, rows_root)
    found = _read(file, what)
    if found.rows_root != rows_root:
        raise NodeError(f"{file} has other rows than its name says: delete it")
    return found


def _read(file: Path, what: str) -> DatanetVersion:
    try:
        return version_from_json(json.loads(file.read_text(encoding="utf-8")), is_signed=True)
    except OSError as error:
        raise NodeError(f"{what} is not here ({file}): {error.strerror}") from error
    except (ValueError, RecursionError, MalformedError, BadSignatureError) as error:
        raise NodeError(f"{file} is damaged ({error}): delete it, and publish or fetch the version again") from error


def _write(file: Path, version: DatanetVersion) -> Path:
    plain = to_plain(version)
    assert isinstance(plain, dict)
    for later in (*LATER, "policy"):
        if not plain[later]:
            del plain[later]
    try:
        write_private(file, json.dumps(plain, indent=1) + "\n", is_new=False)
    except OSError as error:
        raise NodeError(f"cannot write {file}: {error.strerror}") from error
    return file


def _row_from_json(place: int, content: object) -> OwnedRow:
    found = _checked_fields(OwnedRow, content)
    cluster = found["cluster"]
    if type(cluster) is not int or not 0 <= cluster <= place:
        raise MalformedError(f"row {place}: its cluster must be its own place or an earlier one")
    return OwnedRow(digest=check_digest(found["digest"]), account=check_address(found["account"]), cluster=cluster)


def _checked_fields(cls: type[DatanetVersion] | type[OwnedRow], content: object) -> dict[str, Any]:
    names = {field.name for field in fields(cls)}
    if not isinstance(content, dict) or set(content) != names:
        raise MalformedError(f"a version must have objects with the fields {', '.join(sorted(names))}")
    return content


def _offers_from_json(content: object, accounts: Mapping[Digest, Address]) -> tuple[RowOffer, ...]:
    """Read the offers of a version whose rows have these accounts; their signatures are not checked.

    Raises:
        MalformedError: one is malformed, or its rows are not of its account.
    """
    if not isinstance(content, list) or len(content) > len(accounts):  # or a peer could have us check any number
        raise MalformedError("a version's offers must be a list, at most one for each row")
    offers = tuple(map(offer_from_json, content))
    for offer in offers:
        theirs = [accounts[digest] for digest in offer.rows if digest in accounts]
        if not theirs:
            raise MalformedError(f"an offer of {offer.account} is for none of the version's rows")
        if any(account != offer.account for account in theirs):
            raise MalformedError(f"a row that {offer.account} has offered is of another account in this version")
    return offers


def _appeals_from_json(content: object, ours: Collection[Digest], most: int) -> tuple[DecidedAppeal, ...]:
    """Read the appeals of a version with the rows `ours`.

    Raises:
        MalformedError: one is malformed, or for none of the rows.
    """
    if not isinstance(content, list) or len(content) > most:
        raise MalformedError("a version's appeals must be a list, at most one for each row")
    found = [checked_fields(DecidedAppeal, each) for each in content]
    if any(check_digest(each["digest"]) not in ours for each in found):
        raise MalformedError("an appeal is for none of the version's rows")
    if any(type(each["upheld"]) is not bool for each in found):
        raise MalformedError("a version's appeals must be upheld or not")
    return tuple(
        DecidedAppeal(
            digest=check_digest(each["digest"]),
            upheld=each["upheld"],
            because=check_reason(each["because"]),
            reason=check_reason(each["reason"]),
        )
        for each in found
    )


def _decisions_from_json(content: object, roots: tuple[Digest, Digest]) -> tuple[VersionDecision, ...]:
    """Read the decisions on a version with these roots; their signatures are not checked.

    Raises:
        MalformedError: one is malformed, or on another version.
    """
    if not isinstance(content, list) or len(content) > CURATORS_MAX:
        raise MalformedError(f"a version's decisions must be a list of at most {CURATORS_MAX}")
    decisions = tuple(map(decision_from_json, content))
    if any((each.rows_root, each.contributors_root) != roots for each in decisions):
        raise MalformedError("a decision of a curator is on another version")
    return decisions
