"""Commands that move money, with plain values for JSON; the daemon runs them, or a command itself without a daemon.

Each takes two steps: a plan shows its transactions and their cost, and only the confirmed plan is carried out.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from openledger_protocol.errors import MalformedError, RevertedError
from openledger_protocol.payments import channel_id
from openledger_protocol.primitives import Address, Wei
from openledger_protocol.transactions import Transaction, day_start_s

from ..chain.contracts import explain_revert
from ..errors import KeyFileError, NodeError
from ..home import Home
from ..keystore import WALLET, Password, find_account, is_unattended, unlock, unlock_unattended
from ..settlement.actions import Action, OpenChannel, change_wei
from ..settlement.balances import PlannedTransaction
from ..settlement.session import NetworkSession
from ..text import rfc3339
from .adapter_bonds import ADAPTER_BONDS
from .commands import ACTION_COMMANDS, Arguments, CommandActions, GenerationOf
from .datanet_terms import DATANET_TERMS
from .plain import plain_of
from .publishing import PUBLISHERS, Planner, Publication
from .voting import VOTING
from .withdrawing import withdraw_rows

PLANS_MAX = 100
"""Plans that are kept for confirmation; beyond that the oldest are dropped."""

PLAN_S = 600.0
"""A plan waits this long for confirmation, and its key stays unlocked meanwhile."""

PLANNERS: Final[Mapping[str, Planner]] = {
    **PUBLISHERS,
    **ADAPTER_BONDS,
    **DATANET_TERMS,
    **VOTING,
    "datanet withdraw": withdraw_rows,
}
"""Commands whose plans are more than actions: they also write to the data directory, or say what they would do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan that was shown to the operator and waits for confirmation."""

    actions: tuple[Action, ...]
    steps: tuple[PlannedTransaction, ...]
    account: Address
    made_s: float  # monotonic
    keep: Callable[[], object]  # writes what belongs to it to the data directory


class TransactionPlanner:
    """Plans and runs the commands that move money, over one session."""

    def __init__(self, home: Home, session: NetworkSession, generation_of: GenerationOf = lambda _: None) -> None:
        self._home = home
        self._session = session
        self._commands = CommandActions(session, generation_of)
        self._plans: dict[str, Plan] = {}
        self._opened: set[Address] = set()  # keys unlocked by a password, to be locked again

    # ---- balances

    def stake(self) -> dict[str, Any]:
        """The bond and the wallet."""
        return plain_of(self._session.treasury.stake())

    def channels(self) -> dict[str, Any]:
        """Channels of both sides, and the money left in those that this node pays from."""
        views = self._session.treasury.channels()
        left = [view.left_wei for view in views if view.role == "payer"]
        return {
            "channels": [{**plain_of(view), "left_wei": str(view.left_wei)} for view in views],
            "left_as_payer_wei": str(sum(left)),
            "num_as_payer": sum(1 for wei in left if wei),
        }

    def rewards(self) -> dict[str, Any]:
        """Earnings that are not withdrawn yet, and the part of the gas budget spent this UTC day."""
        session = self._session
        today_s = day_start_s(session.client.head().timestamp_s)
        return {
            **plain_of(session.treasury.rewards()),
            "gas_today_wei": str(session.ledger.outbox.spent_wei(today_s)),
            "gas_budget_wei": str(session.gas_budget_wei),
        }

    def transactions(self, *, limit: int) -> list[dict[str, Any]]:
        """The newest transactions."""
        return [transaction_to_plain(found) for found in self._session.ledger.outbox.newest(limit=limit)]

    # ---- plans

    def plan(self, command: str, arguments: Arguments, password: str | None) -> dict[str, Any]:
        """Plan a command and show its cost; the argument `wallet` names another account of the data directory.

        Raises:
            NodeError: the command has nothing to do, or the wallet can't be unlocked.
            RevertedError: a contract would refuse it.
        """
        _check_command(command)
        account = self._unlock(arguments.get("wallet") or WALLET, password)
        name = secrets.token_hex(8)
        publication = self._publication(command, account, arguments)
        sign = self._session.ring.signer(account)
        try:
            steps = self._session.treasury.plan(publication.actions, account, sign, key=f"{command}:{name}")
        except RevertedError as error:
            raise explain_revert(error) from error
        self._plans[name] = Plan(
            actions=publication.actions,
            steps=tuple(steps),
            account=account,
            made_s=time.monotonic(),
            keep=publication.keep,
        )
        while len(self._plans) > PLANS_MAX:
            self._plans.pop(next(iter(self._plans)))
        return {
            "plan": name,
            "account": account,
            "steps": [
                {"summary": step.intent.summary, "gas": step.gas, "fee_wei": str(step.fee_wei)} for step in steps
            ],
            "fee_wei": str(sum(step.fee_wei for step in steps)),
            "note": publication.note,
            "details": list(publication.details),
            **self._afterwards(account, publication.actions, Wei(sum(step.fee_wei for step in steps))),
        }

    def _afterwards(self, account: Address, actions: Sequence[Action], fee_wei: Wei) -> dict[str, Any]:
        """The account's balance and the day's gas budget after a plan."""
        session = self._session
        change = change_wei(actions, account)
        spent = session.ledger.outbox.spent_wei(day_start_s(session.client.head().timestamp_s))
        return {
            "wallet_after_wei": None if change is None else str(session.deployment.token_balance(account) + change),
            "gas_left_wei": str(max(0, session.gas_budget_wei - spent - fee_wei)),
        }

    def act(self, name: str) -> list[dict[str, Any]]:
        """Carry out a confirmed plan.

        Raises:
            NodeError: there is no such plan: it was carried out already, or is too old.
        """
        plan = self._plans.pop(name, None)
        if plan is None:
            raise NodeError("this plan was carried out already or is too old: run the command again")
        self._remember_channels(plan.actions)
        plan.keep()
        return [transaction_to_plain(found) for found in self._session.send(plan.steps)]

    def find_transactions(self, keys: list[str]) -> list[dict[str, Any]]:
        """Report the state of transactions by their keys.

        A transaction counts as mined once its block is read, so that every report after it has what it did.
        """
        found = [self._session.ledger.outbox.find(key) for key in keys]
        last = self._session.ledger.events.last_number()
        shown = [transaction_to_plain(each) for each in found if each]
        return [
            {**each, "state": "sent"} if each["state"] == "mined" and each["block"] > last else each for each in shown
        ]

    def claim_now(self) -> dict[str, Any]:
        """Claim, propose and finalise everything that is due, without waiting for the interval."""
        self._session.settlement.claimer.hurry()
        self._session.step()
        return self.rewards()

    def lock(self) -> None:
        """Lock the keys that were unlocked for a command, once nothing needs them; throwaway keys stay."""
        oldest_s = time.monotonic() - PLAN_S
        self._plans = {name: plan for name, plan in self._plans.items() if plan.made_s > oldest_s}
        waiting = {found.intent.sender for found in self._session.ledger.outbox.unfinished()}
        waiting |= {plan.account for plan in self._plans.values()}
        for account in self._opened - waiting:
            self._session.ring.keys.pop(account, None)
        self._opened &= waiting

    def _unlock(self, name: str, password: str | None) -> Address:
        """Unlock an account's key for a plan.

        Raises:
            KeyFileError: there is no such account, or the password is missing or wrong.
        """
        network = self._session.network.network
        account = find_account(self._home.network_keys(network), name)
        if is_unattended(network, name):
            key = unlock_unattended(account)
        elif password is None:
            raise KeyFileError(f"{name} is locked: this command needs its password")
        else:
            key = unlock(account, Password(text=password))
            self._opened.add(account.address)
        self._session.ring.add(key)
        return account.address

    def _remember_channels(self, actions: Sequence[Action]) -> None:
        """Store new channels before their deposits are sent, because their configs are nowhere else."""
        for action in actions:
            if isinstance(action, OpenChannel):
                key = channel_id(action.config, self._session.deployment.payments)
                self._session.ledger.channels.ensure(key, action.config, now_ns=time.time_ns())

    def _publication(self, command: str, account: Address, arguments: Arguments) -> Publication:
        """The actions of a command; some commands also write to the data directory, or say what they would do."""
        if command in PLANNERS:
            return PLANNERS[command](self._home, self._session, account, arguments)
        return Publication(actions=tuple(self._commands.find(command, account, arguments)))


def _check_command(command: str) -> None:
    if command not in (*ACTION_COMMANDS, *PLANNERS):
        known = ", ".join([*ACTION_COMMANDS, *PLANNERS])
        raise MalformedError(f"no command {command!r} can be planned: the commands are {known}")


def transaction_to_plain(found: Transaction) -> dict[str, Any]:
    """Convert a transaction for JSON; `at` is the chain time of its block, or else of its first sending."""
    at_s = found.mined_s or next((each.sent_s for each in found.variants if each.sent_s), None)
    return {
        "key": found.intent.key,
        "summary": found.intent.summary,
        "kind": found.intent.kind,
        "sender": found.intent.sender,
        "state": found.state,
        "at": None if at_s is None else rfc3339(at_s),
        "hash": found.mined_hash or (found.variants[-1].hash if found.variants else None),
        "times_raised": max(0, len(found.variants) - 1),
        "block": found.block_number,
        "gas_used": found.gas_used,
        "fee_wei": None if found.fee_wei is None else str(found.fee_wei),
        "error": found.error,
    }
