"""Proposals and decisions of curators as files: a person drops one on the page, and downloads another."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from openledger_protocol.codec import to_plain
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import Address, DatanetId, Digest, check_address, check_digest

from ..errors import NodeError
from ..home import Home
from .curated import decisions_on, read_review
from .gate import GateNumber, measure_rows
from .proposals import DECISION_SCHEMA, PROPOSAL_SCHEMA, VersionProposal, read_proposal
from .rows import rows_digest, write_rows
from .screening import mask_private, personal_data, secrets_in
from .signed import DatanetPlace

HEAD_BYTES: Final = 200
KINDS: Final = {PROPOSAL_SCHEMA: "proposal", DECISION_SCHEMA: "decision"}
ROWS_SHOWN: Final = 10
MEASURED_ELSEWHERE: Final = ("duplicates", "copies")
"""Numbers that need the batches, which only the owner has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curators:
    """The place of a Datanet on the chain, its curators, and how many of them a version needs."""

    place: DatanetPlace
    curators: tuple[Address, ...]
    need: int
    published: tuple[tuple[int, Digest], ...] = ()  # numbers of its versions, and the roots of their rows


def curators_from_plain(content: Any) -> Curators:
    """Read what the network has told of a Datanet."""
    place = content["place"]
    return Curators(
        place=DatanetPlace(
            chain_id=int(place["chain_id"]),
            contract=check_address(place["contract"]),
            datanet_id=DatanetId(check_digest(place["datanet_id"])),
        ),
        curators=tuple(map(check_address, content["curators"])),
        need=int(content["need"]),
        published=tuple((int(number), check_digest(root)) for number, root in content["published"]),
    )


def kind_of(file: Path) -> str | None:
    """Return "proposal" or "decision" if a file begins as one does, otherwise None."""
    try:
        with file.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError:
        return None
    if not head.lstrip().startswith(b"{"):
        return None
    return next((kind for schema, kind in KINDS.items() if schema.encode() in head), None)


def read_new_rows(file: Path, rows_file: Path) -> dict[str, Any]:
    """Describe a proposal with its numbers, and write its new rows to a file of their own, to be shown page by page.

    `old_root` is the root of the rows that it calls old, None without any; `check_old_rows` compares it.

    Raises:
        NodeError: the file is no proposal.
    """
    proposal = read_proposal(file)
    new = proposal.new_rows
    write_rows(rows_file, new)
    numbers: Any = [to_plain(each) for each in measure_new(proposal)]
    return {
        "datanet_id": proposal.datanet_id,
        "name": proposal.name,
        "licence": proposal.licence,
        "version": proposal.version,
        "rows_root": proposal.rows_root,
        "contributors_root": proposal.contributors_root,
        "rows": len(proposal.rows),
        "num_new": len(new),
        "old_root": old_root(proposal),
        "numbers": numbers,
        "new_digest": rows_digest(new),
    }


def show_rows(rows: Sequence[Row], *, before: int) -> list[dict[str, Any]]:
    """Show new rows of a proposal that come after so many others of its version; personal data is masked."""
    return [
        {
            "row": number,
            "prompt": mask_private(row.prompt),
            "completion": mask_private(row.completion),
            "contributor": row.contributor,
            "masked": [*personal_data(_text(row)), *secrets_in(_text(row))],
        }
        for number, row in enumerate(rows, before + 1)
    ]


def old_root(proposal: VersionProposal) -> Digest | None:
    """The root of the rows that a proposal calls old; None if it calls none so."""
    return rows_digest(proposal.rows[: proposal.num_old]) if proposal.num_old else None


def check_old_rows(root: str | None, published: Collection[str]) -> None:
    """Check that the rows that a proposal calls old are a version on the chain, by their root.

    Raises:
        NodeError: they are not.
    """
    if root is not None and root not in published:
        raise NodeError(
            "the file says that its first rows were published before, and they were not: don't approve it, and ask "
            "the owner why"
        )


def measure_new(proposal: VersionProposal) -> list[GateNumber]:
    """The numbers of the new rows that need no other rows."""
    if not proposal.new_rows:
        return []
    measured = measure_rows(proposal.new_rows, proposal.rows[: proposal.num_old], duplicates=0, of_others=0)
    return [each for each in measured if each.name not in MEASURED_ELSEWHERE]


def review_state(home: Home, name: str, found: Curators) -> dict[str, Any]:
    """The newest proposal of the next version, and what the curators have decided on it.

    Raises:
        NodeError: the file of the review is damaged.
    """
    review = read_review(home, name)
    number = found.published[-1][0] + 1 if found.published else 1
    proposed = [each for each in review.proposals if each.version == number]
    decisions = decisions_on(review, number, proposed[-1].roots, found.curators) if proposed else ()
    return {
        "version": number,
        "is_proposed": bool(proposed),
        "approvals": sum(each.approves for each in decisions),
        "decisions": [
            {"curator": each.curator, "approves": each.approves, "reason": each.reason} for each in decisions
        ],
    }


def _text(row: Row) -> str:
    return f"{row.prompt}\n{row.completion}"
