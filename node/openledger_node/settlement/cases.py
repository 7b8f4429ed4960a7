"""Cases about receipts: as the events tell them, and with the shares that this node computes from their texts.

Everything that a challenger publishes is read as untrusted: what hashes to the receipt's commitments counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from openledger_protocol.attribution import Share
from openledger_protocol.cases import CaseState, contest_until_s, judge_until_s, read_case_texts
from openledger_protocol.epoch import GuardianPause, Windows
from openledger_protocol.errors import ProtocolError
from openledger_protocol.events import Event
from openledger_protocol.primitives import Address, Digest, Wei

from ..attribution.recount import NotHereError, ShareRecount
from ..chain.cases import CONTRACT, Challenge, Disputes, read_challenge
from ..chain.client import ChainClient
from ..chain.deployment import Deployment
from ..errors import ChainError, NodeError
from ..ledger.ledger import Ledger
from .records import integer, newest_pause

UNREADABLE: Final = (
    "its texts can't be read here: the transaction that opened it does not show them, so the challenger has called "
    "through a contract that packs them in its own way"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCase:
    """One case, as the events up to the latest block tell it. Times are in seconds of the chain."""

    digest: Digest  # of its receipt
    node: Address
    challenger: Address
    bond_wei: Wei  # of each side
    contester: Address | None
    state: CaseState
    opened_at_s: int
    contest_until_s: int  # the last second
    judge_until_s: int  # the last second
    opened_by: Digest  # the transaction with its texts

    def involves(self, *accounts: Address) -> bool:
        """True if one of these is a side of it."""
        return not {self.node, self.challenger, self.contester}.isdisjoint(accounts)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFinding:
    """The result of computing the shares of a case again."""

    is_right: bool | None  # the node's shares are those that the rule gives; None: they can't be computed here
    detail: str
    challenge: Challenge | None = None  # None: it can't be read
    expected: tuple[Share, ...] = ()


class Cases:
    """The cases of one network."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        client: ChainClient,
        deployment: Deployment,
        windows: Windows,
        recount: ShareRecount | None,
    ) -> None:
        self.disputes = Disputes(deployment)
        self.recount = recount  # None: this session computes no shares
        self._ledger = ledger
        self._client = client
        self._deployment = deployment
        self._windows = windows
        self._opened: dict[tuple[Digest, Digest], int] = {}  # (case, block) → its time, which never changes
        self._findings: dict[Digest, CaseFinding] = {}  # those that can't change

    def open(self) -> list[KnownCase]:
        """The open cases against all nodes, oldest first.

        Raises:
            ChainError: the chain does not answer.
        """
        return [case for case in self.all() if case.state == "open"]

    def all(self) -> list[KnownCase]:
        """All cases, oldest first.

        Raises:
            ChainError: the chain does not answer.
        """
        pause, ended = newest_pause(self._ledger.events), self._ended()
        contesters = {digest_of(event): str(event.arguments["contester"]) for event in self._events("Contested")}
        return [
            self._case(event, pause, ended.get(digest_of(event), "open"), contesters.get(digest_of(event)))
            for event in self._events("Challenged")
        ]

    def finding(self, case: KnownCase) -> CaseFinding:
        """Compute the shares of a case again; each is computed once, unless something was missing."""
        if case.digest not in self._findings:
            found = self._find(case)
            if found.is_right is None:
                return found
            self._findings[case.digest] = found
        return self._findings[case.digest]

    def _find(self, case: KnownCase) -> CaseFinding:
        challenge = None
        try:
            challenge = self._read(case)
            expected = self._expected(challenge)
        except (ProtocolError, NodeError) as error:
            return CaseFinding(is_right=None, detail=str(error), challenge=challenge)
        is_right = expected == challenge.shares
        detail = "they are what the rule gives" if is_right else different_shares(challenge.shares, expected)
        return CaseFinding(is_right=is_right, detail=detail, challenge=challenge, expected=expected)

    def _read(self, case: KnownCase) -> Challenge:
        if (sent := self._client.input_of(case.opened_by)) is None:
            raise NotHereError("the endpoint does not show the transaction that opened it: use another endpoint")
        if (found := read_challenge(sent, case.digest, self._deployment.payments)) is None:
            raise NotHereError(UNREADABLE)
        return found

    def _expected(self, challenge: Challenge) -> tuple[Share, ...]:
        if self.recount is None:
            raise NotHereError("this session computes no shares: ask the node itself")
        prompt, answer = read_case_texts(challenge.texts)
        return self.recount.shares_of(challenge.receipt, prompt, answer)

    # ---- events

    def _case(self, challenged: Event, pause: GuardianPause, state: CaseState, contester: str | None) -> KnownCase:
        opened_at_s = self._opened_at_s(challenged)
        return KnownCase(
            digest=digest_of(challenged),
            node=Address(str(challenged.arguments["node"])),
            challenger=Address(str(challenged.arguments["challenger"])),
            bond_wei=Wei(integer(challenged, "bond")),
            contester=Address(contester) if contester else None,
            state=state,
            opened_at_s=opened_at_s,
            contest_until_s=contest_until_s(opened_at_s, self._windows, pause),
            judge_until_s=judge_until_s(opened_at_s, self._windows, pause),
            opened_by=challenged.transaction_hash,
        )

    def _opened_at_s(self, challenged: Event) -> int:
        key = digest_of(challenged), challenged.block.hash
        if key not in self._opened:
            block = self._client.block(challenged.block.number)
            if block is None or block.hash != challenged.block.hash:
                raise ChainError("the endpoint no longer shows the block of a case: try again")
            self._opened[key] = block.timestamp_s
        return self._opened[key]

    def _ended(self) -> dict[Digest, CaseState]:
        states: dict[Digest, CaseState] = {digest_of(event): "draw" for event in self._events("Lapsed")}
        for event in self._events("Judged"):
            states[digest_of(event)] = "guilty" if event.arguments["guilty"] else "not guilty"
        return states

    def _events(self, name: str) -> list[Event]:
        return self._ledger.events.find(name, contract=self._deployment.addresses[CONTRACT])


def digest_of(event: Event) -> Digest:
    """The case that an event of the contract is about."""
    return Digest(str(event.arguments["digest"]))


def different_shares(given: Iterable[Share], expected: Iterable[Share]) -> str:
    """Say in how many shares a receipt differs from the rule, and by how much in all."""
    ours = {(share.datanet_id, share.account): share.ppm for share in expected}
    theirs = {(share.datanet_id, share.account): share.ppm for share in given}
    changed = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
    moved = sum(abs(ours.get(key, 0) - theirs.get(key, 0)) for key in changed) // 2
    return f"{len(changed)} of them differ from what the rule gives, by {moved:,} ppm in all"
