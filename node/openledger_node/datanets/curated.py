"""Versions that an owner has proposed to curators, and the curators' decisions, in `own/review.json` of a Datanet."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from openledger_protocol.codec import to_plain
from openledger_protocol.curation import CURATORS_MAX, VersionDecision, decision_from_json, signature_bytes
from openledger_protocol.datanet import Row
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import ZERO_DIGEST, Address, Digest, check_digest

from ..errors import NodeError
from ..home import Home, write_private
from .own import Datanet, check_policy, find_batch, kept_rows
from .own_files import OWN_FOLDER
from .proposals import VersionProposal, roots_of
from .rows import rows_digest
from .signed import DatanetPlace
from .store import OwnDatanets

REVIEW_FILE: Final = "review.json"
REVIEW_SCHEMA: Final = "openledger.version_review/1"
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
    review = read_review(home, name)
    others = tuple(each for each in review.proposals if each != noted)
    _write_review(home, name, replace(review, proposals=(*others, noted)))
    return proposal


def take_decision(
    home: Home, name: str, decision: VersionDecision, place: DatanetPlace, curators: Sequence[Address]
) -> ProposedVersion:
    """Keep a curator's decision; a later one of the same curator on the same version replaces it.

    Raises:
        NodeError: it is for another Datanet, of nobody who is a curator, or on no version that was proposed.
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
    review = read_review(home, name)
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
    others = tuple(each for each in review.decisions if _key(each) != _key(decision))
    _write_review(home, name, replace(review, decisions=(*others, decision)))
    return found[-1]


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
    kept = replace(
        review,
        proposals=review.proposals[-PROPOSALS_MAX:],
        decisions=review.decisions[-PROPOSALS_MAX * CURATORS_MAX :],
    )
    plain = to_plain(kept)
    assert isinstance(plain, dict)
    file = _file(home, name)
    try:
        write_private(file, json.dumps({"schema": REVIEW_SCHEMA, **plain}, indent=1) + "\n", is_new=False)
    except OSError as error:
        raise NodeError(f"cannot write {file}: {error.strerror}") from error


def _file(home: Home, name: str) -> Path:
    return home.datanets / name / OWN_FOLDER / REVIEW_FILE
