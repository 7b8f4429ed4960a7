"""Texts of answers that this node or its guest has bought: until when each is kept, or since when it is gone."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from openledger_protocol.opening import Opening
from openledger_protocol.primitives import Digest

from ..home import Home
from ..ledger.ledger import Ledger, open_ledger
from ..ledger.receipts import ReceiptRow
from ..ledger.texts import TextEnd
from ..settlement.session import NetworkSession
from ..text import duration_text
from .kept_texts import BYTES_MAX, NS, find_text_at, time_kept_s

TextState = Literal["kept", "gone", "not_kept", "sold"]
HOW_TO_KEEP = "to keep those of later answers, run `openledger-node config set payer.keep_texts_s 86400`"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextStanding:
    """State of a receipt's text: kept until a time, gone since a time, or never here; and why."""

    state: TextState
    until_s: int | None = None  # while it is kept
    since_s: int | None = None  # once it is gone
    says: str


class BoughtTexts:
    """Reads the sealed texts of one network in a data directory: this node's, and its guest's."""

    def __init__(
        self, home: Home, network: str, ledger: Ledger, *, keep_s: float, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._home = home
        self._network = network
        self._ledger = ledger
        self._keep_s = keep_s  # by the setting of now
        self._now_ns = now_ns

    def find(self, digest: Digest) -> Opening | None:
        """Find the exchange of a receipt; None if it is not kept.

        Raises:
            KeyFileError: it was sealed with another key.
        """
        for folder, ledger in self._ledgers():
            if found := find_text_at(folder, ledger, digest, now_ns=self._now_ns()):
                return found
        return None

    def standing(self, row: ReceiptRow, *, is_own: bool) -> TextStanding:
        """Describe the text of a receipt; `is_own` is true if this node's wallet paid for it."""
        is_bought = is_own
        for folder, ledger in self._ledgers():
            if end := ledger.texts.find_end(row.digest, now_ns=self._now_ns()):
                return self._described(end)
            is_bought |= folder != self._home.network(self._network) and bool(ledger.receipts.find(row.digest))
        if not is_bought:
            return TextStanding(
                state="sold", says="its text is not here: this node sold the answer, and only the payer may keep it"
            )
        if self._keep_s:
            return TextStanding(
                state="not_kept",
                says="its text was not kept: [payer] keep_texts_s was 0 when the answer was bought, or the node "
                "stopped before it was stored, or it went so long ago that nobody knows why",
            )
        return TextStanding(
            state="not_kept", says=f"its text is not kept, because [payer] keep_texts_s is 0 here: {HOW_TO_KEEP}"
        )

    def _described(self, end: TextEnd) -> TextStanding:
        at_s = end.end_ns // NS
        when = moment_text(at_s)
        if end.why_gone is None:
            why = ", for an audit of the receipt" if end.is_held else ""
            return TextStanding(state="kept", until_s=at_s, says=f"its text is kept here, sealed, until {when}{why}")
        why = {
            "time": "its time was over",
            "setting": f"[payer] keep_texts_s was lowered to {duration_text(int(self._keep_s))}",
            "room": f"newer texts needed the room, which is {BYTES_MAX // 10**6} MB",
        }[end.why_gone]
        return TextStanding(
            state="gone",
            since_s=at_s,
            says=f"its text was deleted here at {when}, because {why}; shares and amounts stay",
        )

    @contextmanager
    def _guest(self) -> Iterator[list[tuple[Path, Ledger]]]:
        file = self._home.guest_ledger(self._network)
        if not file.exists():
            yield []
            return
        with closing(open_ledger(file, is_writer=False)) as ledger:
            yield [(file.parent, ledger)]

    def _ledgers(self) -> Iterator[tuple[Path, Ledger]]:
        yield self._home.network(self._network), self._ledger
        with self._guest() as guest:
            yield from guest


def open_bought_texts(home: Home, session: NetworkSession) -> BoughtTexts:
    """Open the texts of the session's network."""
    network = session.network
    keep_s = time_kept_s(session.keep_texts_s, is_development=network.is_development)
    return BoughtTexts(home, network.network, session.ledger, keep_s=keep_s)


def moment_text(at_s: int) -> str:
    """Format a time for a sentence, such as `17:05 UTC on 30 November 2026`."""
    at = datetime.fromtimestamp(at_s, UTC)
    return f"{at:%H:%M} UTC on {at.day} {at:%B %Y}"
