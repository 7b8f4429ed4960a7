"""Proposals of a version to the curators of its Datanet: a file with all that they decide on.

A curator needs no node. Their program computes the roots again from the rows in the file, so nobody can sign other
rows than those that were shown.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from openledger_protocol.codec import to_plain
from openledger_protocol.curation import (
    REASON_LENGTH_MAX,
    VersionDecision,
    check_decision,
    decision_from_json,
)
from openledger_protocol.datanet import Row, row_from_json
from openledger_protocol.errors import BadSignatureError, MalformedError
from openledger_protocol.primitives import (
    ZERO_ADDRESS,
    Address,
    DatanetId,
    Digest,
    check_address,
    check_digest,
    check_name,
    check_text,
)

from ..errors import InputError, NodeError
from ..text import on_one_line
from .rows import rows_digest
from .version import account_of, contributors_root

PROPOSAL_SCHEMA: Final = "openledger.version_proposal/1"
DECISION_SCHEMA: Final = "openledger.version_decision/1"
FILE_BYTES_MAX: Final = 1024**3
DECISION_BYTES_MAX: Final = 64 * 1024
LICENCE_CHARACTERS_MAX: Final = 4_096
"""A Datanet's description on the chain is no longer either; most licences have a short id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionProposal:
    """A version that curators are asked to approve."""

    chain_id: int
    contract: Address  # DatanetRegistry
    datanet_id: DatanetId
    name: str
    licence: str
    version: int  # its number on the chain
    rows_root: Digest
    contributors_root: Digest
    accounts: dict[str, Address]  # of contributors that have a name instead of an address
    num_old: int  # rows at the beginning that an earlier version has
    rows: tuple[Row, ...]

    @property
    def new_rows(self) -> tuple[Row, ...]:
        """The rows that no earlier version has."""
        return self.rows[self.num_old :]


def write_proposal(file: Path, proposal: VersionProposal) -> None:
    """Write a proposal.

    Raises:
        NodeError: the file exists already, or can't be written.
    """
    plain = to_plain(proposal)
    assert isinstance(plain, dict)
    _write(file, {"schema": PROPOSAL_SCHEMA, **plain})


def read_proposal(file: Path) -> VersionProposal:
    """Read a proposal, and compute its roots again.

    Raises:
        NodeError: the file can't be read, or its roots are not those of its rows.
    """
    try:
        return _proposal_from_json(_read(file, FILE_BYTES_MAX))
    except (ValueError, RecursionError, MalformedError) as error:
        raise NodeError(f"{file} is no proposal of a version: {error}") from error


def draft_decision(proposal: VersionProposal, curator: Address, *, approves: bool, reason: str) -> VersionDecision:
    """Make a decision for its curator to sign.

    Raises:
        InputError: a rejection has no reason, or one that is too long, or an approval has one.
    """
    words = " ".join(reason.split())
    if not approves and not 1 <= len(words) <= REASON_LENGTH_MAX:
        raise InputError(f"a rejection needs a reason of 1 to {REASON_LENGTH_MAX} characters: --because TEXT")
    if approves and words:
        raise InputError("an approval has no reason: leave out --because, or give --reject")
    return VersionDecision(
        chain_id=proposal.chain_id,
        contract=proposal.contract,
        datanet_id=proposal.datanet_id,
        version=proposal.version,
        rows_root=proposal.rows_root,
        contributors_root=proposal.contributors_root,
        curator=curator,
        approves=approves,
        reason=words,
    )


def write_decision(file: Path, decision: VersionDecision) -> None:
    """Write a signed decision.

    Raises:
        NodeError: the file exists already, or can't be written.
    """
    plain = to_plain(decision)
    assert isinstance(plain, dict)
    _write(file, {"schema": DECISION_SCHEMA, **plain})


def read_decision(file: Path) -> VersionDecision:
    """Read a decision, and check that its curator has signed it.

    Raises:
        NodeError: the file can't be read, or the decision is not what its curator has signed.
    """
    try:
        content = _read(file, DECISION_BYTES_MAX)
        if content.pop("schema", None) != DECISION_SCHEMA:
            raise MalformedError(f"a decision has the schema {DECISION_SCHEMA!r}")
        return check_decision(decision_from_json(content))
    except (ValueError, RecursionError, MalformedError, BadSignatureError) as error:
        raise NodeError(f"{file} is no decision of a curator: {error}") from error


def _proposal_from_json(content: dict[str, Any]) -> VersionProposal:
    names = {field.name for field in fields(VersionProposal)}
    if content.pop("schema", None) != PROPOSAL_SCHEMA or set(content) != names:
        raise MalformedError(f"it must have the schema {PROPOSAL_SCHEMA!r} and the fields {', '.join(sorted(names))}")
    for name, most in (("chain_id", 2**64), ("version", 2**32), ("num_old", 2**32)):
        if type(content[name]) is not int or not 0 <= content[name] < most:
            raise MalformedError(f"its {name} must be a number below {most}")
    if not isinstance(content["licence"], str) or len(content["licence"]) > LICENCE_CHARACTERS_MAX:
        raise MalformedError(f"its licence must be a text of at most {LICENCE_CHARACTERS_MAX} characters")
    if not isinstance(content["rows"], list) or not content["rows"] or not isinstance(content["accounts"], dict):
        raise MalformedError("it must have rows, and the accounts of contributors")
    rows = tuple(map(row_from_json, content["rows"]))
    accounts = {check_name(name): check_address(account) for name, account in content["accounts"].items()}
    if other := next((name for name in accounts if account_of(name, {}) != ZERO_ADDRESS), None):
        raise MalformedError(f"it pays the rows of {other} at another account: ask its owner why")
    proposal = VersionProposal(
        chain_id=content["chain_id"],
        contract=check_address(content["contract"]),
        datanet_id=DatanetId(check_digest(content["datanet_id"])),
        name=check_name(content["name"]),
        licence=on_one_line(check_text(content["licence"])),
        version=content["version"],
        rows_root=check_digest(content["rows_root"]),
        contributors_root=check_digest(content["contributors_root"]),
        accounts=accounts,
        num_old=min(content["num_old"], len(rows)),
        rows=rows,
    )
    if roots_of(rows, accounts) != (proposal.rows_root, proposal.contributors_root):
        raise MalformedError("its roots are not those of its rows and contributors: ask its owner for it again")
    return proposal


def roots_of(rows: Sequence[Row], accounts: dict[str, Address]) -> tuple[Digest, Digest]:
    """The roots of rows and of their contributors, as the chain stores them."""
    people = {account_of(name, accounts) for name in {row.contributor for row in rows}}
    return rows_digest(rows), contributors_root(people)


def _read(file: Path, most: int) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            text = stream.read(most + 1)
    except OSError as error:
        raise NodeError(f"cannot read {file}: {error.strerror}") from error
    if len(text) > most:
        raise MalformedError(f"it is larger than {most:,} bytes")
    content = json.loads(text)
    if not isinstance(content, dict):
        raise MalformedError("it is no JSON object")
    return content


def _write(file: Path, content: dict[str, Any]) -> None:
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    except FileExistsError as error:
        raise NodeError(f"{file} exists already, and nothing is overwritten: name another file with --out") from error
    except OSError as error:
        raise NodeError(f"cannot write {file}: {error.strerror}") from error
