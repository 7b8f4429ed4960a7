"""A buyer that audits receipts by a rule of the test's, and what its ledger then says."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio
from support.indexes import ADA, BO, EVE, LAKE_ID
from support.market_world.requests import purchase
from support.market_world.terms import NODE, NOW_S, Clock, sign_as, word

from openledger_node.errors import NodeError
from openledger_node.ledger.ledger import Ledger
from openledger_node.payments.audits import ReceiptAudits
from openledger_node.payments.kept_texts import KeptTexts, open_seal
from openledger_node.payments.payer import Purchase
from openledger_node.settlement.wrong_shares import WrongShares
from openledger_protocol.attribution import Share
from openledger_protocol.constants import PPM
from openledger_protocol.payments import Receipt
from openledger_protocol.primitives import ZERO_ADDRESS, Salt
from openledger_protocol.wire.inference import Salts

CASE_S = 1_000
"""From a receipt to the end of the time for a case."""


def shares(**ppm: int) -> tuple[Share, ...]:
    accounts = {"ada": ADA, "bo": BO, "eve": EVE, "treasury": ZERO_ADDRESS, "node": NODE}
    given = [Share(datanet_id=LAKE_ID, account=accounts[name], ppm=each) for name, each in ppm.items()]
    return tuple(sorted(given, key=lambda share: share.account.lower()))


RIGHT, LIE = shares(ada=600_000, bo=400_000), shares(ada=PPM)


class Rule:
    """A rule that gives `RIGHT` for every answer, at once or when it is allowed to."""

    def __init__(self, *, error: NodeError | None = None, is_slow: bool = False) -> None:
        self.error = error
        self.may_end = threading.Event()
        self.asked: list[str] = []
        if not is_slow:
            self.may_end.set()

    def shares_of(self, _: Receipt, prompt: Any, answer: str) -> tuple[Share, ...]:
        self.asked.append(prompt)
        assert self.may_end.wait(30)
        if self.error:
            raise self.error
        return RIGHT


def always(_: int) -> int:
    return 0


def auditing(
    root: Path,
    rule: Rule | None = None,
    *,
    one_in: int = 1,
    draw_below: Callable[[int], int] = always,
    case_s: int = CASE_S,
) -> Callable[[Ledger], ReceiptAudits]:
    """Open the audits of a buyer that keeps no texts."""

    def open_audits(ledger: Ledger) -> ReceiptAudits:
        return ReceiptAudits(
            ledger=ledger,
            texts=KeptTexts(ledger, open_seal(root / "net"), keep_s=0, now_ns=Clock()),
            recount=rule or Rule(),  # type: ignore[arg-type]  # it answers as the real one does
            sign=sign_as("authorizer"),
            one_in=one_in,
            case_s=case_s,
            draw_below=draw_below,
            now_ns=Clock(),
        )

    return open_audits


def wanted(name: str = "r1", **changes: Any) -> Purchase:
    """A purchase of an answer that one Datanet has taught, with salts of its own as every real one has."""
    salts = Salts(**{each: Salt(word(f"{name} {each}")) for each in ("prompt", "output", "fingerprint")})
    return purchase(name, datanet_ids=(LAKE_ID,), salts=salts, **changes)


def num_texts(ledger: Ledger) -> int:
    return len(ledger._store.rows("SELECT digest FROM text"))


def verdicts(ledger: Ledger) -> list[str | None]:
    query = "SELECT verdict FROM audit JOIN receipt USING (digest) ORDER BY seq"
    return [row["verdict"] for row in ledger._store.rows(query)]


def alarms(ledger: Ledger, *, now_s: float = NOW_S) -> WrongShares:
    found = WrongShares(ledger, now_s=lambda: now_s)
    found.step()
    return found


async def until(is_reached: Callable[[], object]) -> None:
    """Wait for a thread."""
    with trio.fail_after(20):
        while not is_reached():  # noqa: ASYNC110 - a thread sets no trio event
            await trio.sleep(0.01)
