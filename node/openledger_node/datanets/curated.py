"""Versions that an owner has proposed to curators, and the curators' decisions, in `own/review.json` of a Datanet."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from openledger_protocol.codec import to_plain
from openledger_protocol.curation import VersionDecision, decision_from_json, signature_bytes
from openledger_protocol.datanet import Row
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import ZERO_DIGEST, Address, Digest, check_digest

from ..errors import ConfigError, NodeError
from ..home import Home, take_lock, write_private
from .own import Datanet, check_policy, find_batch, kept_rows, state_of
from .own_files import OWN_FOLDER
from .proposals import VersionProposal, roots_of
from .rows import rows_digest
from .signed import DatanetPlace
from .store import OwnDatanets

REVIEW_FILE: Final = "review.json"
REVIEW_SCHEMA: Final = "openledger.version_review/1"
LOCK_FILE: Final = ".review.lock"
LOCK_WAIT_S: Final = 10.0
"""Another command may hold the lock while it approves batches, which compares all rows."""

PROPOSALS_MAX: Final = 16
"""Proposals that are kept, with their decisions; the oldest go first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedVersion:
    """A version that was proposed, and the batches that it adds to the approved ones."""

    version: int  # its number on the chain
    rows_root: Digest
    contributors_root: Digest
    batches: tuple[Digest, ...]

    @property
    def roots(self) -> tuple[Digest, Digest]:
        """Its roots."""
        return self.rows_root, self.contributors_root


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionReview:
    """The whole of `review.json`."""

    proposals: tuple[ProposedVersion, ...] = ()
    decisions: tuple[VersionDecision, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedVersion:
    """A proposed version with the decisions of its Datanet's curators."""

    proposed: ProposedVersion
    decisions: tuple[VersionDecision, ...]
    is_approved: bool = False  # enough curators approve it, and so its batches are approved
    is_outdated: bool = False  # enough curators approve it, and the Datanet's rows have changed since it was proposed

    @property
    def approvals(self) -> int:
        """The number of curators who approve it."""
        return sum(each.approves for each in self.decisions)


def propose(
    home: Home, name: str, batches: Sequence[str], place: DatanetPlace, published: Sequence[tuple[int, Digest]]
) -> VersionProposal:
    """Propose the approved rows of a Datanet and some waiting batches as its next version.

    `batches` are beginnings of digests; without any, all waiting batches are proposed. `published` are the numbers of
    its versions on the chain and the roots of their rows.

    Raises:
        NodeError: there is no such batch, no row, a row that the policy does not take, or nobody who could be paid.
    """
    own = OwnDatanets(home)
    own.learn_withdrawals(name)
    datanet = own.learn_commitments(name)  # as for a publication, which must have the same rows in the same order
    chosen = [find_batch(datanet, each) for each in batches] if batches else list(datanet.pending)
    seen = datanet
    for batch in chosen:
        if batch.digest in seen.approved:
            continue
        is_signed = batch.digest in own.signed_batches(datanet)
        earlier = [own.batch_rows(name, digest) for digest in seen.approved]
        check_policy(seen, earlier, kept_rows(batch, own.batch_rows(name, batch.digest)), is_signed=is_signed)
        seen = replace(seen, approved=(*seen.approved, batch.digest))
    rows = own.rows(seen)
    if not rows:
        raise NodeError(f"{name} has no rows yet: `openledger-node datanet contribute {name} FILE`")
    number, last_root = published[-1] if published else (0, None)
    rows_root, contributors_root = roots_of(rows, datanet.accounts)
    if contributors_root == ZERO_DIGEST:
        raise NodeError(
            f"no contributor of these rows has an address, so nobody could be paid: name one with --account NAME=0x… "
            f"at `openledger-node datanet approve {name} BATCH`, and propose the version again"
        )
    proposal = VersionProposal(
        chain_id=place.chain_id,
        contract=place.contract,
        datanet_id=place.datanet_id,
        name=name,
        licence=datanet.licence,
        version=number + 1,
        rows_root=rows_root,
        contributors_root=contributors_root,
        accounts=datanet.accounts,
        num_old=_num_old(datanet, rows, last_root),
        rows=rows,
    )
    new = tuple(digest for digest in seen.approved if digest not in datanet.approved)
    noted = ProposedVersion(
        version=proposal.version, rows_root=rows_root, contributors_root=contributors_root, batches=new
    )
    with _locked(home, name):
        review = read_review(home, name)
        others = tuple(each for each in review.proposals if each != noted)
        _write_review(home, name, replace(review, proposals=(*others, noted)))
    return proposal


def collect(
    home: Home,
    name: str,
    decisions: Sequence[VersionDecision],
    place: DatanetPlace,
    curators: Sequence[Address],
    need: int,
) -> list[CollectedVersion]:
    """Keep decisions of curators, and approve the batches of each proposal that has enough approvals.

    A later decision of the same curator on the same version replaces an earlier one. All decisions are kept, or none.
    The proposals are in the order of their first decision.

    Raises:
        NodeError: a decision is for another Datanet, of nobody who is a curator, or on no version that was proposed.
        ConfigError: another command holds the lock for too long.
    """
    with _locked(home, name):
        review = read_review(home, name)
        found = [_proposed(review, name, each, place, curators) for each in decisions]
        for decision in decisions:
            others = tuple(each for each in review.decisions if _key(each) != _key(decision))
            review = replace(review, decisions=(*others, decision))
        _write_review(home, name, review)
        return [_count(home, name, each, review, curators, need) for each in dict.fromkeys(found)]


def _proposed(
    review: VersionReview, name: str, decision: VersionDecision, place: DatanetPlace, curators: Sequence[Address]
) -> ProposedVersion:
    """The proposal that a decision is on.

    Raises:
        NodeError: there is none, or the decision is for another Datanet or of nobody who is a curator.
    """
    if (decision.chain_id, decision.contract, decision.datanet_id) != (
        place.chain_id,
        place.contract,
        place.datanet_id,
    ):
        raise NodeError(
            f"this decision is for Datanet {decision.datanet_id} on chain {decision.chain_id}, not {name}"
        )
    if decision.curator not in curators:
        raise NodeError(
            f"{decision.curator} is not a curator of {name}: `openledger-node datanet show {name}` lists them"
        )
    found = [
        each
        for each in review.proposals
        if (each.version, *each.roots) == (decision.version, decision.rows_root, decision.contributors_root)
    ]
    if not found:
        raise NodeError(
            f"this decision is on version {decision.version} of {name} with other rows than you have proposed: "
            f"propose it again with `openledger-node datanet propose {name}`"
        )
    return found[-1]


def _count(
    home: Home,
    name: str,
    proposed: ProposedVersion,
    review: VersionReview,
    curators: Sequence[Address],
    need: int,
) -> CollectedVersion:
    """Count the approvals of a proposal, and approve its batches if they are enough."""
    found = decisions_on(review, proposed.version, proposed.roots, curators)
    counted = CollectedVersion(proposed=proposed, decisions=found)
    if not 0 < need <= counted.approvals:
        return counted
    own = OwnDatanets(home)
    with own.locked(name):  # nothing may change between the comparison and the last approval
        if not _is_next(own, name, proposed):
            return replace(counted, is_outdated=True)
        for digest in proposed.batches:
            own.approve(name, digest, {})
    return replace(counted, is_approved=True)


def _is_next(own: OwnDatanets, name: str, proposed: ProposedVersion) -> bool:
    """Return True if approving the proposed batches now leads to exactly the rows that the curators have seen.

    Those of a version that was published stay approved, whatever came after them.
    """
    own.learn_withdrawals(name)
    datanet = own.learn_commitments(name)
    if proposed.rows_root in {each.rows_root for each in datanet.versions}:
        return True
    states = {batch.digest: state_of(datanet, batch) for batch in datanet.batches}
    if any(states.get(digest, "rejected") == "rejected" for digest in proposed.batches):
        return False
    new = tuple(digest for digest in proposed.batches if digest not in datanet.approved)
    rows = own.rows(replace(datanet, approved=(*datanet.approved, *new)))
    return roots_of(rows, datanet.accounts) == proposed.roots


def decisions_on(
    review: VersionReview, version: int, roots: tuple[Digest, Digest], curators: Iterable[Address]
) -> tuple[VersionDecision, ...]:
    """The decisions of these curators on a version, ascending by curator as the contract wants them."""
    ours = set(curators)
    found = [
        each
        for each in review.decisions
        if each.version == version and (each.rows_root, each.contributors_root) == roots and each.curator in ours
    ]
    return tuple(sorted(found, key=lambda each: each.curator.lower()))


def approvals_of(decisions: Iterable[VersionDecision]) -> tuple[bytes, ...]:
    """The signatures of those who approve, in the order of the decisions."""
    return tuple(signature_bytes(each) for each in decisions if each.approves)


def read_review(home: Home, name: str) -> VersionReview:
    """Read the proposals and decisions of a Datanet; none if there is no file.

    Raises:
        NodeError: the file is damaged.
    """
    file = _file(home, name)
    if not file.exists():
        return VersionReview()
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.pop("schema", None) != REVIEW_SCHEMA:
            raise MalformedError(f"it has not the schema {REVIEW_SCHEMA!r}")
        return VersionReview(
            proposals=tuple(map(_proposed_from_json, content["proposals"])),
            decisions=tuple(map(decision_from_json, content["decisions"])),
        )
    except OSError as error:
        raise NodeError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError, MalformedError) as error:
        raise NodeError(f"{file} is damaged ({error}): delete it, and propose the version again") from error


def _num_old(datanet: Datanet, rows: Sequence[Row], last_root: Digest | None) -> int:
    """Rows at the beginning that are exactly the last version on the chain; 0 if a withdrawal has changed it."""
    sizes = [each.rows for each in datanet.versions if each.rows_root == last_root]
    return sizes[-1] if sizes and rows_digest(rows[: sizes[-1]]) == last_root else 0


def _key(decision: VersionDecision) -> tuple[object, ...]:
    return decision.curator, decision.version, decision.rows_root, decision.contributors_root


def _proposed_from_json(content: Any) -> ProposedVersion:
    names = {field.name for field in fields(ProposedVersion)}
    if not isinstance(content, dict) or set(content) != names or type(content["version"]) is not int:
        raise MalformedError(f"a proposal has the fields {', '.join(sorted(names))}")
    return ProposedVersion(
        version=content["version"],
        rows_root=check_digest(content["rows_root"]),
        contributors_root=check_digest(content["contributors_root"]),
        batches=tuple(map(check_digest, content["batches"])),
    )


def _write_review(home: Home, name: str, review: VersionReview) -> None:
    """Write the newest proposals and the decisions on them."""
    proposals = review.proposals[-PROPOSALS_MAX:]
    known = {(each.version, *each.roots) for each in proposals}
    decisions = tuple(each for each in review.decisions if _key(each)[1:] in known)
    plain = to_plain(VersionReview(proposals=proposals, decisions=decisions))
    assert isinstance(plain, dict)
    file = _file(home, name)
    try:
        write_private(file, json.dumps({"schema": REVIEW_SCHEMA, **plain}, indent=1) + "\n", is_new=False)
    except OSError as error:
        raise NodeError(f"cannot write {file}: {error.strerror}") from error


@contextmanager
def _locked(home: Home, name: str) -> Iterator[None]:
    """Hold the lock of a Datanet's review, so that no command overwrites what another has kept meanwhile."""
    with _file(home, name).with_name(LOCK_FILE).open("a") as lock:
        try:
            take_lock(lock, wait_s=LOCK_WAIT_S)
        except BlockingIOError as error:
            raise ConfigError(
                f"another command has been changing the review of {name} for {LOCK_WAIT_S:g} s: try again in a moment"
            ) from error
        yield


def _file(home: Home, name: str) -> Path:
    return home.datanets / name / OWN_FOLDER / REVIEW_FILE
