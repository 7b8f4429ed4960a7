"""Attribution of one answer: its spans that occur in rows, the rows, their contributors, and the payment of each.

Shares are the receipt's own. Spans are for reading; the attributor that computed the shares also ranks the rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import nlargest
from typing import Any

from openledger_protocol.datanet import Row
from openledger_protocol.division import Division, apportion
from openledger_protocol.governance import ALGORITHMS
from openledger_protocol.primitives import Address, DatanetId, Digest

from ..attribution.attributor import Attributor, Exchange, Scores
from ..attribution.owners import OwnedDatanet
from ..attribution.registry import Registered
from ..attribution.runs import Run, Span, choose_spans, find_in, find_offsets, find_runs, num_covered, whole_words
from ..attribution.service import row_parts
from ..datanets.about import datanet_name
from ..engine.tokenizer import Tokenizer
from ..home import Home
from ..ledger.receipts import ReceiptRow
from ..settlement.session import NetworkSession
from ..text import rfc3339
from .payees import Person, division_of, known_rows, names_of, people_of, state_of
from .plain import plain_of

ALSO_IN_MAX = 8

PAID_ROWS_MAX = 100
"""Paid rows that are shown; `poa-v3` may pay thousands."""

Place = tuple[int, int]
"""A row: its Datanet's place in the report, and its own place in the index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Question and answer of a receipt, while its text is stored here."""

    question: str
    answer: str
    exchange: Exchange


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holder:
    """A run and the row that is shown for it."""

    run: Run
    datanet: int
    row: int  # the one with the greatest share
    others: tuple[int, ...]

    @property
    def place(self) -> Place:
        """The place of that row."""
        return self.datanet, self.row


def teaching_of(
    home: Home,
    session: NetworkSession,
    row: ReceiptRow,
    *,
    registered: Registered | None,
    texts: Texts | None,
    attributor: Attributor,
    tokenizer: Tokenizer | None,
) -> dict[str, Any]:
    """Report who taught an answer; `registered` and `texts` are None if they are not stored here."""
    division = division_of(session, row)
    found = [datanet_name(session.ledger.events, part.datanet_id) for part in division.datanets]
    owned = registered.owned if registered else ()
    known = [known_rows(home, datanet) for datanet in owned]  # once: a Datanet may have many rows
    people = people_of(division, row.shares, names_of(home, [name for name in found if name], owned, known))
    shown: dict[str, Any] = {"rows": [], "spans": [], "question_spans": [], "tokens": None, "tokens_matched": None}
    report = None
    if registered and texts and tokenizer:
        report = AttributionReport(session, owned, known, people, division, texts, attributor, tokenizer)
        shown = report.show()
    return {
        **state_of(row),
        "algorithm": ALGORITHMS.get(row.receipt.algo_id, str(row.receipt.algo_id)),
        "people": [
            {**plain_of(person), "rows": report.num_paid(person.account) if report else None} for person in people
        ],
        **shown,
        "datanets": _datanets(division, found, owned),
        "part_wei": str(division.contributors_wei),
        "part_ppm": division.contributors_wei * 1_000_000 // (division.amount_wei or 1),
        "dust_wei": str(sum(part.dust_wei for part in division.datanets)),
    }


def _datanets(
    division: Division, names: Sequence[str | None], owned_here: Sequence[OwnedDatanet]
) -> list[dict[str, Any]]:
    owned = {datanet.id: datanet for datanet in owned_here}
    return [
        {
            "datanet_id": part.datanet_id,
            "name": name,
            "version": owned[part.datanet_id].index.version if part.datanet_id in owned else None,
            "rows": owned[part.datanet_id].index.num_rows if part.datanet_id in owned else None,
            "weight_ppm": part.weight_ppm,
            "part_wei": str(part.part_wei),
            "owner_wei": str(part.owner_wei),
        }
        for part, name in zip(division.datanets, names, strict=True)
    ]


class AttributionReport:
    """Compares one answer with the rows that its adapter was trained on."""

    def __init__(
        self,
        session: NetworkSession,
        owned: Sequence[OwnedDatanet],
        known: Sequence[Mapping[Digest, Row]],
        people: Sequence[Person],
        division: Division,
        texts: Texts,
        attributor: Attributor,
        tokenizer: Tokenizer,
    ) -> None:
        self._session = session
        self._owned = owned
        self._known = known  # rows that are stored here: an index does not separate question and answer
        self._people = {person.account: person for person in people}
        self._division = division
        self._texts = texts
        self._attributor = attributor
        self._tokenizer = tokenizer

    def show(self) -> dict[str, Any]:
        """Return spans and rows as JSON values."""
        exchange, texts = self._texts.exchange, self._texts
        spans = self._spans(exchange.answer, texts.answer)
        asked = self._spans(exchange.prompt, texts.question)
        places = list(dict.fromkeys([*self._shown, *(each.place for each, _, _ in [*spans, *asked])]))
        return {
            "tokens": len(exchange.answer),
            "tokens_matched": num_covered([run for runs in self._runs for run in runs]),
            "spans": [self._span(*each) for each in spans],
            "question_spans": [self._span(*each) for each in asked],
            "rows": sorted((self._row(place) for place in places), key=lambda row: -row["ppm"]),
        }

    # ---- paid rows

    @cached_property
    def _scores(self) -> list[Scores]:
        return [self._attributor.score(self._texts.exchange, datanet.index) for datanet in self._owned]

    @cached_property
    def _paid(self) -> dict[Place, int]:
        """The paid rows, one for each cluster, and their parts of all shares in ppm."""
        return {
            (at, row): ppm
            for at, datanet in enumerate(self._owned)
            for row, ppm in row_parts(self._attributor, datanet, self._scores[at], self._ppm_in(datanet)).items()
            if ppm
        }

    @property
    def _shown(self) -> list[Place]:
        return nlargest(PAID_ROWS_MAX, self._paid, key=self._paid.__getitem__)

    def _ppm_in(self, datanet: OwnedDatanet) -> dict[Address, int]:
        """Each person's part in one Datanet; a person's parts in all of them sum to what the person has."""
        weights: dict[Address, dict[DatanetId, int]] = {account: {} for account in self._people}
        for part in self._division.datanets:
            for payee in part.payees:
                weights[payee.account][part.datanet_id] = payee.ppm * part.weight_ppm
        parts = {
            account: dict(zip(found, apportion(self._people[account].ppm, list(found.values())), strict=True))
            for account, found in weights.items()
        }
        return {account: found[datanet.id] for account, found in parts.items() if datanet.id in found}

    def num_paid(self, account: Address) -> int:
        """The number of rows for which an account is paid."""
        return sum(self._account(place) == account for place in self._paid)

    def _account(self, place: Place) -> Address:
        at, row = place
        return self._owned[at].accounts[row]

    # ---- spans

    @cached_property
    def _runs(self) -> list[list[Run]]:
        return [find_runs(datanet.index, self._texts.exchange.answer) for datanet in self._owned]

    def _spans(self, tokens: Sequence[int], text: str) -> list[tuple[_Holder, Span, tuple[int, int]]]:
        """The spans to mark in a text, each with its row and its range in characters."""
        offsets = find_offsets(tokens, text, self._tokenizer)
        if offsets is None:
            return []
        holders = [
            self._holder(at, run)
            for at, datanet in enumerate(self._owned)
            for run in find_runs(datanet.index, tokens)
        ]
        weights = [self._people_ppm(each) for each in holders]
        chosen = choose_spans([each.run for each in holders], weights)
        words = [whole_words(text, offsets[span.begin], offsets[span.end]) for span in chosen]
        return [(holders[span.run], span, word) for span, word in zip(chosen, words, strict=True) if word]

    def _holder(self, at: int, run: Run) -> _Holder:
        best = max(run.rows, key=lambda row: (self._paid.get((at, row), 0), self._scores[at][row], -row))
        return _Holder(run=run, datanet=at, row=best, others=tuple(row for row in run.rows if row != best))

    def _people_ppm(self, holder: _Holder) -> int:
        person = self._people.get(self._account(holder.place))
        return person.ppm if person else 0

    def _span(self, holder: _Holder, span: Span, word: tuple[int, int]) -> dict[str, Any]:
        account = self._account(holder.place)
        digests = self._owned[holder.datanet].index.row_digests
        return {
            "begin": word[0],
            "end": word[1],
            "tokens": span.end - span.begin,
            "row": digests[holder.row],
            "account": account,
            "number": self._people[account].number if account in self._people else 0,
            "also_in": [digests[row] for row in holder.others[:ALSO_IN_MAX]],
            "num_also_in": len(holder.others),
        }

    # ---- rows

    def _row(self, place: Place) -> dict[str, Any]:
        at, row = place
        datanet, account = self._owned[at], self._account(place)
        digest = datanet.index.row_digests[row]
        tokens = datanet.index.row_tokens(row)
        runs = [run for run in self._runs[at] if row in run.rows]
        known = self._known[at].get(digest)
        text, marks = self._row_text(tokens, known.prompt if known else None, runs)
        return {
            "row": digest,
            "datanet_id": datanet.id,
            "datanet": self._datanet_names[at],
            "published": self._published[at],
            "account": account,
            "name": self._people[account].name if account in self._people else None,
            "number": self._people[account].number if account in self._people else 0,
            "ppm": self._paid.get(place, 0),
            "score": int(self._scores[at][row]),
            "gradient": None,
            "tokens_matched": num_covered(runs),
            "text": text,
            "marks": marks,
        }

    def _row_text(
        self, tokens: Sequence[int], prompt: str | None, runs: Sequence[Run]
    ) -> tuple[str, list[dict[str, int]]]:
        """A row's text for display, and the ranges of it that the answer contains, in characters."""
        decoder = self._tokenizer.decoder()
        pieces = [decoder.push(token) for token in tokens]
        offsets = [0]
        for piece in pieces:
            offsets.append(offsets[-1] + len(piece))
        text, question_end = "".join(pieces), None
        if prompt and text.startswith(prompt) and len(text) > len(prompt):
            question_end = len(prompt)  # the index has no token for the line end between question and answer
            text = f"{text[:question_end]}\n{text[question_end:]}"
        marks = []
        for run in runs:
            begin = find_in(tokens, self._texts.exchange.answer[run.begin : run.end])
            if begin is None:
                continue
            ends = [offsets[begin], offsets[begin + run.length]]
            word = whole_words(text, *(at + (question_end is not None and at >= question_end) for at in ends))
            marks += [{"begin": word[0], "end": word[1]}] if word else []
        return text, _apart(marks)

    @cached_property
    def _datanet_names(self) -> list[str]:
        """The name of each Datanet on the chain, or in the index."""
        events = self._session.ledger.events
        return [datanet_name(events, datanet.id) or datanet.index.id for datanet in self._owned]

    @cached_property
    def _published(self) -> list[str | None]:
        """The time on the chain at which each Datanet published its version."""
        return [self._published_at(datanet) for datanet in self._owned]

    def _published_at(self, datanet: OwnedDatanet) -> str | None:
        found = self._session.ledger.events.find("DatanetVersion", {"id": datanet.id})
        same = [each for each in found if each.arguments["rowsRoot"] == datanet.index.rows_root] or found
        block = self._session.client.block(same[0].block.number) if same else None
        return rfc3339(block.timestamp_s) if block else None


def _apart(marks: Sequence[dict[str, int]]) -> list[dict[str, int]]:
    """Merge overlapping marks, in order."""
    apart: list[dict[str, int]] = []
    for mark in sorted(marks, key=lambda mark: (mark["begin"], -mark["end"])):
        if apart and mark["begin"] < apart[-1]["end"]:
            apart[-1]["end"] = max(apart[-1]["end"], mark["end"])
        else:
            apart.append(dict(mark))
    return apart
