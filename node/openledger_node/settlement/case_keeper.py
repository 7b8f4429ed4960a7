"""The node's own part in cases: it stands up for its receipts, and if asked for others', and ends what lapsed.

It remembers nothing between two steps. Each step derives what is due from events and rows, so after a crash or a
reorganisation the next step derives it again. The contract takes only one bond a case, whatever is sent twice.
"""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from openledger_protocol.chain import Block
from openledger_protocol.epoch import Windows
from openledger_protocol.errors import ProtocolError
from openledger_protocol.primitives import ZERO_WEI, Address, Digest, Wei
from openledger_protocol.transactions import Intent

from ..chain.cases import CONTRACT
from ..chain.deployment import Deployment
from ..chain.refusals import open_text, time_text
from ..errors import ChainError
from ..ledger.ledger import Ledger
from .case_actions import CaseAction, CloseCase, ContestCase, WithdrawBonds, case_call
from .cases import Cases, KnownCase
from .claimer import attempt_at
from .records import integer

FAIL_POINTS: Final = (
    "contest:planned",
    "contest:stored",
    "close:planned",
    "close:stored",
    "bonds:planned",
    "bonds:stored",
)
"""Points where crash tests kill the node: before and after each write."""

COMMAND: Final = "openledger-node attribution"
BONDED: Final = ("approve", "challenge", "contest")
"""Kinds of transactions that share the contract's one allowance, so that they follow each other."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePolicy:
    """The operator's choice to stand up for other nodes, and the most that may be at risk for them at once."""

    is_watching: bool
    bonds_max_wei: Wei
    in_coin: Callable[[Wei], Wei] = lambda amount_wei: amount_wei  # OPEN to coins of gas


class CaseKeeper:
    """Acts on cases for one node, with the keys that nobody has to unlock.

    A wallet that is unlocked for a command is left alone: its operator has agreed to that command only.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        deployment: Deployment,
        cases: Cases,
        wallet: Address,
        signer: Address,
        unlocked: Collection[Address],
        windows: Windows,
        policy: CasePolicy,
        fail_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._deployment = deployment
        self._cases = cases
        self._wallet = wallet
        self._signer = signer
        self._unlocked = unlocked
        self._unattended = frozenset(unlocked)
        self._windows = windows
        self._policy = policy
        self._fail_point = fail_point
        self.alerts: tuple[str, ...] = ()
        """Sentences for the operator on cases against this node."""

    def step(self, head: Block) -> None:
        """Store the intents of all transactions about cases that are due at `head`.

        If the chain does not answer, the next step continues here. Strangers make cases, and these must not keep the
        node's own money from moving.
        """
        try:
            self._step(head)
        except ChainError as error:
            log.warning("cases can't be followed now: %s", error)

    def credited_wei(self, account: Address) -> int:
        """The wei that cases have credited to an account and it has not withdrawn, without asking the chain."""
        events, contract = self._ledger.events, self._deployment.addresses[CONTRACT]
        credited, withdrawn = (
            sum(integer(event, "amount") for event in events.find(name, {"account": account}, contract=contract))
            for name in ("Credited", "Withdrawn")
        )
        return credited - withdrawn

    def is_unattended(self, account: Address) -> bool:
        """True if this acts for an account by itself."""
        return account in self._unattended and account in self._unlocked

    def _step(self, head: Block) -> None:
        everything, alerts = self._cases.all(), []
        self._forgive(everything)
        cases = [case for case in everything if case.state == "open"]
        for case in cases:
            try:
                alerts += self._follow(case, cases, head)
            except (ChainError, ProtocolError) as error:  # a case that a stranger has made must not stop the others
                log.warning("case %s can't be followed now: %s", case.digest, error)
        self.alerts = tuple(alerts)
        for account in (self._wallet, self._signer):
            self._withdraw(account, head)

    # ---- open cases

    def _follow(self, case: KnownCase, cases: list[KnownCase], head: Block) -> list[str]:
        """Do what is due for a case; return what the operator must know."""
        if head.timestamp_s > case.judge_until_s:
            if case.involves(self._wallet, self._signer):
                self._close(case, head)
            return []
        is_in_time = head.timestamp_s <= case.contest_until_s
        if case.node == self._wallet:
            return [self._defend(case, head) if is_in_time else _awaits(case)]
        if self._policy.is_watching and is_in_time and case.contester is None:
            self._watch(case, cases, head)
        return []

    def _defend(self, case: KnownCase, head: Block) -> str:
        """Contest a case against this node, if its shares were right; return what the operator must know."""
        if case.contester in (self._wallet, self._signer):
            return _awaits(case)
        finding = self._cases.finding(case)
        until = f"until {time_text(case.contest_until_s)}"
        if finding.is_right is None:
            return (
                f"{_named(case)}, and it can't be checked here: {finding.detail}. If your shares were right, contest "
                f"it {until} with `{COMMAND} contest {case.digest}`"
            )
        if not finding.is_right:
            return (
                f"{_named(case)}, and by this node's own computation it is right: {finding.detail}. It is not "
                f"contested, since that would cost a bond; find out why with `{COMMAND} cases`"
            )
        sender = self._defender(case)
        if sender is None:
            why = f" in the place of {case.contester}, who may be its friend," if case.contester else ""
            return (
                f"{_named(case)}, though its shares are right: contest it{why} {until} with `{COMMAND} contest "
                f"{case.digest}`, which takes a bond of {open_text(case.bond_wei)} from your wallet"
            )
        self._contest(case, sender, head, deadline_s=case.contest_until_s)
        return f"{_named(case)}, though its shares are right: this node contests it"

    def _defender(self, case: KnownCase) -> Address | None:
        """The unlocked account that can contest a case against this node; only the wallet can replace another's."""
        able = [self._wallet] if case.contester else [self._wallet, self._signer]
        return next((account for account in able if self._can_bond(account, case.bond_wei)), None)

    def _watch(self, case: KnownCase, cases: list[KnownCase], head: Block) -> None:
        """Contest a case against another node, if its shares were right and the budget allows it."""
        own = {self._wallet, self._signer}
        if case.challenger in own:
            return
        at_risk_wei = sum(
            each.bond_wei
            for each in cases
            if each.node not in own and (each.contester in own or self._is_under_way("contest", each.digest))
        )
        if at_risk_wei + case.bond_wei > self._policy.bonds_max_wei:
            return
        able = (account for account in (self._wallet, self._signer) if self._can_bond(account, case.bond_wei))
        if (sender := next(able, None)) and self._cases.finding(case).is_right:
            self._contest(case, sender, head, deadline_s=None)

    def _can_bond(self, account: Address, bond_wei: Wei) -> bool:
        return self.is_unattended(account) and (
            self._is_bonding(account) or self._deployment.token_balance(account) >= bond_wei
        )

    # ---- transactions

    def _contest(self, case: KnownCase, sender: Address, head: Block, *, deadline_s: int | None) -> None:
        """Store a contest, with the approval of its bond before it; one payment of a bond at a time."""
        if self._is_bonding(sender) or self._is_under_way("contest", case.digest):
            return
        key = f"contest:{case.digest}:{attempt_at(head.timestamp_s, self._windows.contest_s)}"
        if self._ledger.outbox.find(key):
            return  # it was refused just now
        contest = ContestCase(digest=case.digest, bond_wei=case.bond_wei)
        intents = [self._intent(key, contest, sender, at_risk_wei=case.bond_wei, deadline_s=deadline_s)]
        if self._deployment.allowance(sender, self._deployment.addresses[CONTRACT]) < case.bond_wei:
            intents.insert(0, self._approval(f"approve for {key}", case.bond_wei, sender, deadline_s))
        self._store("contest", intents)

    def _approval(self, key: str, bond_wei: Wei, sender: Address, deadline_s: int | None) -> Intent:
        return Intent(
            key=key,
            kind="approve",
            summary=f"let {CONTRACT} take {open_text(bond_wei)}",
            sender=sender,
            call=self._deployment.approve(CONTRACT, bond_wei),
            value_at_risk_wei=self._policy.in_coin(bond_wei),
            deadline_s=deadline_s,
        )

    def _close(self, case: KnownCase, head: Block) -> None:
        """Give everybody the bond back; anybody may, so the key pays that has coins."""
        key = f"close:{case.digest}:{attempt_at(head.timestamp_s, self._windows.judge_s)}"
        if self._is_under_way("close", case.digest) or self._ledger.outbox.find(key):
            return
        able = (each for each in (self._signer, self._wallet) if self.is_unattended(each))
        if sender := next((each for each in able if self._deployment.coin_balance(each)), None):
            self._store("close", [self._intent(key, CloseCase(digest=case.digest), sender)])

    def _withdraw(self, account: Address, head: Block) -> None:
        """Take back what cases have credited to an account, to the account itself, which put it in."""
        if not self.is_unattended(account) or self._is_under_way("bonds", account):
            return
        if self.credited_wei(account) <= 0 or not self._cases.disputes.balance_wei(account):
            return
        key = f"bonds:{account}:{attempt_at(head.timestamp_s, self._windows.judge_s)}"
        if not self._ledger.outbox.find(key):
            self._store("bonds", [self._intent(key, WithdrawBonds(to=account), account)])

    def _intent(
        self,
        key: str,
        action: CaseAction,
        sender: Address,
        *,
        at_risk_wei: Wei = ZERO_WEI,
        deadline_s: int | None = None,
    ) -> Intent:
        kind, summary, call = case_call(action, self._deployment)
        return Intent(
            key=key,
            kind=kind,
            summary=summary,
            sender=sender,
            call=call,
            value_at_risk_wei=self._policy.in_coin(at_risk_wei),
            deadline_s=deadline_s,
        )

    def _store(self, point: str, intents: list[Intent]) -> None:
        self._fail_point(f"{point}:planned")
        with self._ledger.transaction():
            for intent in intents:
                self._ledger.outbox.add(intent)
        self._fail_point(f"{point}:stored")

    def _forgive(self, cases: list[KnownCase]) -> None:
        """Count no failure of a transaction whose goal somebody else's transaction has reached first."""
        outbox = self._ledger.outbox
        if outbox.num_paid_failures("contest") or outbox.num_paid_failures("close case"):
            for case in cases:
                for kind, is_reached in (("contest", case.contester), ("close", case.state != "open")):
                    if is_reached:
                        outbox.forgive_reached(f"{kind}:{case.digest}:")

    def _is_bonding(self, sender: Address) -> bool:
        """True if a bond of this account is on its way, or its approval."""
        under_way = (found.intent for found in self._ledger.outbox.unfinished() if found.block_number is None)
        return any(intent.sender == sender and intent.kind in BONDED for intent in under_way)

    def _is_under_way(self, kind: str, about: Digest | Address) -> bool:
        unfinished = self._ledger.outbox.unfinished()
        return any(found.intent.key.startswith(f"{kind}:{about}:") for found in unfinished)


def _named(case: KnownCase) -> str:
    return f"{case.challenger} has opened case {case.digest} against this node, which can cost its minimum stake"


def _awaits(case: KnownCase) -> str:
    return f"{_named(case)}: it is {_contested(case)}, and the votes judge it until {time_text(case.judge_until_s)}"


def _contested(case: KnownCase) -> str:
    return f"contested by {case.contester}" if case.contester else "not contested"
