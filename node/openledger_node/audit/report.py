"""The audit of one network at one block, from its storage and its logs alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from openledger_protocol.primitives import Address

from ..chain.client import ChainClient
from ..network_file import Network
from .books import books_of
from .chain import PinnedChain, pin_chain
from .claims import Chronicle, claim_faults, read_all
from .events import EventLog
from .lines import Line, Terms, conservation_lines, terms_of, terms_to_json
from .moves import match_moves
from .registries import registry_faults, wiring_faults
from .storage import read_storage, storage_faults

SCHEMA = "openledger.audit/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found."""

    network: str
    block: int
    lines: Sequence[Line]
    terms: Terms
    donations: Mapping[str, int]  # by contract: tokens that strangers sent it, and nobody can take out
    faults: Sequence[str]  # each names what is not as it must be

    @property
    def holds(self) -> bool:
        """Whether every line holds, and nothing else is wrong."""
        return not self.faults and all(line.holds for line in self.lines)


def audit(client: ChainClient, network: Network, block: int | None = None) -> Report:
    """Compare all that the contracts have said with all that they hold; by default at the latest block.

    Raises:
        ChainError: the endpoint does not answer, is of another chain or of other contracts, or the chain took the
            block back meanwhile.
        MalformedError: it answers with what no chain says.
    """
    chain = pin_chain(client, network, block)
    said = EventLog(chain.events())
    chronicle = read_all(said.events, Address(chain.ask("AttributionRewards", "protocolTreasury")))
    report = _compare(chain, said, chronicle)
    chain.check_still_there()
    return report


def _compare(chain: PinnedChain, said: EventLog, chronicle: Chronicle) -> Report:
    claims = list(chronicle.stories.values())
    books = books_of(said, claims)
    stored = read_storage(chain, books, claims)
    moves = match_moves(said, chain.contracts)
    terms = terms_of(said, stored, claims)
    epochs = sorted({claim.record.epoch for claim in claims if claim.record})
    return Report(
        network=chain.network.network,
        block=chain.block.number,
        lines=conservation_lines(said, stored, claims, terms, chain.contracts, moves.donations),
        terms=terms,
        donations={name: amount for name, amount in moves.donations.items() if amount},
        faults=(
            *wiring_faults(chain),
            *registry_faults(chain, chronicle.registry, epochs),
            *books.faults,
            *storage_faults(books, stored),
            *(fault for claim in claims for fault in claim_faults(claim)),
            *moves.faults,
        ),
    )


def report_to_json(report: Report) -> dict[str, object]:
    """The object that `--json` prints: wei as decimal strings."""
    return {
        "schema": SCHEMA,
        "network": report.network,
        "block": report.block,
        "holds": report.holds,
        "lines": [
            {
                "id": line.id,
                "meaning": line.meaning,
                "left_wei": str(line.left),
                "right_wei": str(line.right),
                "holds": line.holds,
            }
            for line in report.lines
        ],
        "terms": terms_to_json(report.terms),
        "donations": {name: str(amount) for name, amount in report.donations.items()},
        "faults": list(report.faults),
    }


# ---- A report for people: one row a line, then what is wrong and what was given away.

GAP = "  "


def render_report(report: Report) -> str:
    """Columns as wide as what stands in them."""
    rows = [("line", "left wei", "right wei", "")]
    rows += [(line.id, f"{line.left:,}", f"{line.right:,}", "ok" if line.holds else "NO") for line in report.lines]
    id_width, left_width, right_width = (max(len(row[column]) for row in rows) for column in range(3))
    table = [
        GAP.join([id_.ljust(id_width), left.rjust(left_width), right.rjust(right_width), mark]).rstrip()
        for id_, left, right, mark in rows
    ]
    return "\n".join([f"{report.network} at block {report.block}", "", *table, "", *_remarks(report)])


def _remarks(report: Report) -> Iterator[str]:
    for line in report.lines:
        if not line.holds:
            yield f"{line.id} does not hold: {line.meaning}"
    yield from report.faults
    for name, amount in report.donations.items():
        yield f"given to {name} for nothing: {amount:,} wei"
    yield "every line holds to the wei" if report.holds else "it does not hold"
