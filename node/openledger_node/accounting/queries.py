"""Queries about money by name; the daemon answers them, or a command itself without a daemon."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import ZERO_ADDRESS, check_address

from ..attribution.registry import AdapterRegistry
from ..engine.tokenizer import Tokenizer
from ..home import Home
from ..keystore import list_accounts
from ..ledger.receipts import ReceiptRow
from ..models.library import list_adapters
from ..payments.bought_texts import open_bought_texts
from ..settlement.session import NetworkSession
from ..text import rfc3339
from .answer_page import answer_page
from .commands import Arguments, GenerationOf
from .datanet_boards import DatanetQueries
from .earnings import EarningsReports
from .governing import GovernanceQueries
from .money_trail import follow
from .plain import plain_of
from .receipt_check import ReceiptChecker
from .statements import StatementQueries
from .transactions import TransactionPlanner

RECEIPTS_MAX = 1_000
OUTBOX_SHOWN = 50
SLOW_QUESTIONS = frozenset({"verify", "datanets", "datanet_board", "datanet_terms", "sign_rows", "sign_decision"})
"""They only read. `verify` may run an answer once more, and the others read all receipts or the rows of versions.

They need a thread of their own, so that money does not wait.
"""


class QuestionArguments(dict[str, Any]):
    """Arguments of a query; a missing one is the client's mistake, not a KeyError of ours."""

    def __missing__(self, name: str) -> Any:
        """Refuse the query, naming the argument."""
        raise MalformedError(f"the argument {name!r} is missing")


class MoneyQueries:
    """Answers queries with plain values for JSON."""

    def __init__(
        self,
        home: Home,
        session: NetworkSession,
        planner: TransactionPlanner,
        checker: ReceiptChecker,
    ) -> None:
        self._session = session
        self._planner = planner
        self._checker = checker
        earnings = EarningsReports(
            session,
            lambda: {each.id: each.full_name for each in list_adapters(home)},
            lambda: list_accounts(home.network_keys(session.network.network)),
        )
        self._answers: Mapping[str, Callable[[Arguments], Any]] = {
            "network": lambda _: self._network(),
            "rescan": lambda _: self._rescan(),
            "forgive": lambda given: self._forgive(given["kind"]),
            "forgive_shares": lambda given: self._forgive_shares(given["node"]),
            "stake": lambda _: planner.stake(),
            "channels": lambda _: planner.channels(),
            "rewards": lambda _: planner.rewards(),
            "earnings": lambda given: earnings.report(given, now_s=time.time()),
            "plan": lambda given: planner.plan(
                given["verb"], QuestionArguments(given["arguments"]), given.get("password")
            ),
            "act": lambda given: {"transactions": planner.act(given["plan"])},
            "claim": lambda _: planner.claim_now(),
            "transactions": lambda given: {"transactions": planner.find_transactions(given["keys"])},
            "receipts": lambda given: {"receipts": self._receipts(limit=min(int(given["limit"]), RECEIPTS_MAX))},
            "receipt": lambda given: self._receipt(given["receipt"]),
            "answer_page": lambda given: self._answer_page(given["receipt"]),
            "follow": lambda given: follow(home, session, checker.find(given["receipt"])),
            "outbox": lambda given: {
                "transactions": planner.transactions(limit=int(given.get("limit") or OUTBOX_SHOWN))
            },
            "verify": lambda given: self._verify(given["receipt"]),
            **GovernanceQueries(session).answers,
            **DatanetQueries(home, session).answers,
            **StatementQueries(home, session).answers,
        }

    def answer(self, question: str, arguments: Arguments) -> Any:
        """Answer one query.

        Raises:
            NodeError: the operator must act.
            ProtocolError: it is refused, or there is no such query.
        """
        if question not in self._answers:
            raise MalformedError(f"no question is called {question!r}: there are {', '.join(self._answers)}")
        return self._answers[question](QuestionArguments(arguments))

    def lock(self) -> None:
        """Lock the keys that were unlocked for a command, once nothing needs them."""
        self._planner.lock()

    def _network(self) -> dict[str, Any]:
        """The network, and the chain's time, by which everything is due."""
        session = self._session
        head = session.client.head()
        return {
            "network": session.network.network,
            "is_development": session.network.is_development,
            "symbol": session.network.token.symbol,
            "block": head.number,
            "chain_time_s": head.timestamp_s,
            "health": session.state.health,
            "why": session.state.why,
            "alerts": list(session.alerts),
        }

    def _rescan(self) -> dict[str, Any]:
        self._session.rescan()
        self._session.step()
        return self._network()

    def _forgive(self, kind: str) -> dict[str, Any]:
        num_forgiven = self._session.forgive(kind)
        self._session.step()
        return {"kind": kind, "num_forgiven": num_forgiven, "alerts": list(self._session.alerts)}

    def _forgive_shares(self, node: str) -> dict[str, Any]:
        num_forgiven = self._session.wrong_shares.forgive(check_address(node))
        return {"node": node, "num_forgiven": num_forgiven, "alerts": list(self._session.alerts)}

    def _receipts(self, *, limit: int) -> list[dict[str, Any]]:
        return [self._summary(row) for row in self._session.ledger.receipts.newest(limit=limit)]

    def _summary(self, row: ReceiptRow) -> dict[str, Any]:
        """A receipt's row in the list of receipts."""
        receipt = row.receipt
        return {
            "digest": row.digest,
            "request_id": receipt.work.request_id,
            "seq": receipt.seq,
            "issued_at": rfc3339(receipt.issued_at_s),
            "adapter_id": receipt.adapter_id,
            "amount_wei": str(receipt.amount_wei),
            "tokens_in": receipt.work.tokens_in,
            "tokens_out": receipt.work.tokens_out,
            "is_countersigned": row.countersignature is not None,
            "claim": self._claim_of(row),
        }

    def _claim_of(self, row: ReceiptRow) -> dict[str, Any] | None:
        claim = self._session.ledger.claims.find(row.claim_id) if row.claim_id is not None else None
        return {"seq": claim.seq, "state": claim.state} if claim else None

    def _receipt(self, beginning: str) -> dict[str, Any]:
        """A whole receipt, with the evidence for its shares if its texts are still stored."""
        row = self._checker.find(beginning)
        channel = self._session.ledger.channels.find(row.receipt.channel_id)
        assert channel is not None, "a receipt is charged to a channel"
        found = self._checker.evidence(row)
        return {
            **self._summary(row),
            "payer": channel.config.payer,
            "node": channel.config.node,
            "receipt": plain_of(row.receipt),
            "shares": [
                {**plain_of(share), "pays": "treasury" if share.account == ZERO_ADDRESS else "contributor"}
                for share in row.shares
            ],
            "adapter": self._checker.adapter_name(row),
            **self._checker.texts(row),
            "evidence": None if found is None else [plain_of(each) for each in found],
            "teaching": self._checker.teaching(row),
        }

    def _answer_page(self, beginning: str) -> dict[str, Any]:
        """A receipt's answer with its marks as one HTML file.

        Raises:
            NodeError: its text is not here.
        """
        found = self._receipt(beginning)
        return {
            "digest": found["digest"],
            "html": answer_page(found, is_development=self._session.network.is_development),
        }

    def _verify(self, beginning: str) -> dict[str, Any]:
        row = self._checker.find(beginning)
        checks = self._checker.check(row)
        return {
            "digest": row.digest,
            "holds": all(check.holds is not False for check in checks),
            "checks": [plain_of(check) for check in checks],
        }


def open_queries(
    home: Home,
    session: NetworkSession,
    *,
    registry: AdapterRegistry,
    tokenizer: Callable[[], Tokenizer],
    generation_of: GenerationOf = lambda _: None,
) -> MoneyQueries:
    """Compose the queries over one session; `generation_of` is what peers advertise, if the node has any."""
    texts = open_bought_texts(home, session)
    checker = ReceiptChecker(home, session, registry=registry, tokenizer=tokenizer, texts=texts)
    return MoneyQueries(home, session, TransactionPlanner(home, session, generation_of), checker)
