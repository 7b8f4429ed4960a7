"""The audit of one network at one block, from its storage and logs alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from openledger_protocol.primitives import Address

from ..chain.client import ChainClient
from ..network_file import Network
from .books import books_of
from .chain import PinnedChain, pin_chain
from .claims import ClaimReader, claim_faults, read_all
from .events import EventLog
from .governance import treasury_faults
from .lines import Line, Terms, conservation_lines, terms_of, terms_to_json
from .moves import match_moves
from .registries import registry_faults, wiring_faults
from .staking import Fixed
from .storage import read_storage, storage_faults

SCHEMA = "openledger.audit/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of an audit."""

    network: str
    block: int
    is_open_token: bool  # False: another token, which tells its balances itself
    lines: Sequence[Line]
    terms: Terms
    donations: Mapping[str, int]  # by contract: tokens that strangers sent it, which nobody can withdraw
    faults: Sequence[str]  # each names a value that is wrong

    @property
    def holds(self) -> bool:
        """True if every line holds and there are no faults."""
        return not self.faults and all(line.holds for line in self.lines)


def audit(client: ChainClient, network: Network, block: int | None = None) -> Report:
    """Compare all events of the contracts with their storage, by default at the latest block.

    Raises:
        ChainError: the endpoint does not answer, is on another chain, has other contracts, or a reorganisation
            removed the block during the audit.
        MalformedError: an answer of the endpoint is malformed.
    """
    chain = pin_chain(client, network, block)
    log = EventLog(chain.events())
    report = _compare(chain, log, read_all(log.events, read_fixed(chain)))
    chain.check_still_there()
    return report


def read_fixed(chain: PinnedChain) -> Fixed:
    """Ask for what the contracts were deployed with."""
    return Fixed(
        treasury=Address(chain.ask("AttributionRewards", "protocolTreasury")),
        windows=chain.ask("Params", "windows"),
        seconds_of=chain.seconds_of,
    )


def _compare(chain: PinnedChain, log: EventLog, reader: ClaimReader) -> Report:
    claims = list(reader.claims.values())
    books = books_of(chain, log, reader)
    stored = read_storage(chain, books, claims)
    moves = match_moves(log, chain.contracts)
    terms = terms_of(log, stored, claims)
    epochs = {claim.record.epoch for claim in claims if claim.record} | reader.stakes.slash_epochs
    return Report(
        network=chain.network.network,
        block=chain.block.number,
        is_open_token=chain.is_open_token,
        lines=conservation_lines(log, stored, claims, terms, chain.contracts, moves.donations),
        terms=terms,
        donations={name: amount for name, amount in moves.donations.items() if amount},
        faults=(
            *wiring_faults(chain, log),
            *registry_faults(chain, reader.registry, sorted(epochs)),
            *books.faults,
            *storage_faults(books, stored),
            *(fault for claim in claims for fault in claim_faults(claim)),
            *moves.faults,
            *treasury_faults(log, chain.contracts["Timelock"]),
        ),
    )


def report_to_json(report: Report) -> dict[str, object]:
    """The object that `--json` prints, with wei as decimal strings."""
    return {
        "schema": SCHEMA,
        "network": report.network,
        "block": report.block,
        "is_open_token": report.is_open_token,
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


# ---- A report for people: a table of the lines, then faults and donations.

GAP = "  "


def render_report(report: Report) -> str:
    """Render the report as text; columns fit their contents."""
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
    if not report.is_open_token:
        yield "the network pays in a token that is not of this release: what it says of balances is taken as true"
    for name, amount in report.donations.items():
        yield f"given to {name} for nothing: {amount:,} wei"
    yield "every line holds to the wei" if report.holds else "it does not hold"
