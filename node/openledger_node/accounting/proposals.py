"""Proposals as the chain has them, with their votes, times and the command that comes next, for JSON."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from openledger_protocol.epoch import Params, Voting, epoch_at
from openledger_protocol.events import Event
from openledger_protocol.governance import (
    ACTIVE_AFTER_EPOCHS,
    OPEN_STATES,
    ParamBounds,
    ProposalState,
    QueuedParams,
    Support,
    changed_params,
    is_decided,
    value_of,
)
from openledger_protocol.primitives import Address
from openledger_protocol.transactions import MINED, Transaction

from ..chain.governance import Governance, ProposedContent, content_of, history_of, queued_of
from ..chain.param_words import bound_text, param_text
from ..chain.vote_words import describe_calls, proposed_params, proposed_slash, shorten, title_of
from ..errors import NodeError
from ..settlement.records import integer
from ..settlement.session import NetworkSession
from ..text import shown
from .plain import plain_of

DESCRIPTION_CHARACTERS_MAX: Final = 4_000
REASON_CHARACTERS_MAX: Final = 200
VOTERS_SHOWN_MAX: Final = 20
PROPOSALS_SHOWN_MAX: Final = 200
NUMBER_DIGITS_MAX: Final = 9

_PROPOSER_MARK = re.compile(r"\s*#proposer=0x[0-9a-fA-F]{40}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundProposal:
    """A proposal, its number on this network, and how far it has come."""

    number: int
    content: ProposedContent
    state: ProposalState

    @property
    def id(self) -> str:
        """The governor's id, as 0x-hex."""
        return f"0x{self.content.id:064x}"

    @property
    def is_open(self) -> bool:
        """True if it may still take effect."""
        return self.state in OPEN_STATES


class Proposals:
    """The proposals of one network, at the block that was read last."""

    def __init__(self, session: NetworkSession, defeated: set[int] | None = None) -> None:
        """Read proposals; `defeated` holds those that no reorganisation will change, for the next time."""
        self.session = session
        self._defeated = set() if defeated is None else defeated
        self.governance = Governance(session.deployment)
        self._events = session.ledger.events
        self.now_s = session.client.head().timestamp_s

    # ---- what is there

    @cached_property
    def voting(self) -> Voting:
        """Times and thresholds of votes."""
        return self.governance.voting()

    @cached_property
    def history(self) -> list[QueuedParams]:
        """The values that were ever queued."""
        rows = history_of(self._events.find("ParamsQueued"))
        if not rows or rows[0].from_epoch:
            raise NodeError("this node is still reading the chain from its start: run the command again in a moment")
        return rows

    @cached_property
    def newest(self) -> Params:
        """The values that were queued last, which a proposal changes."""
        return self.governance.newest_params()

    @cached_property
    def _bounds(self) -> ParamBounds:
        return self.governance.bounds()

    @cached_property
    def contents(self) -> list[ProposedContent]:
        """All proposals, by their numbers less one."""
        return [content_of(event) for event in self._events.find("ProposalCreated")]

    def open(self) -> list[FoundProposal]:
        """The proposals that may still take effect, oldest first."""
        found = (self._find(number) for number in range(1, len(self.contents) + 1))
        return [each for each in found if each.is_open]

    def newest_first(self, limit: int = PROPOSALS_SHOWN_MAX) -> list[FoundProposal]:
        """The newest proposals."""
        numbers = range(len(self.contents), 0, -1)
        return [self._find(number) for number in numbers[: min(limit, PROPOSALS_SHOWN_MAX)]]

    def find(self, name: str) -> FoundProposal:
        """Find a proposal by its number, its id or the beginning of its id.

        Raises:
            NodeError: no proposal is called so, or several are.
        """
        if name.isdecimal() and len(name) <= NUMBER_DIGITS_MAX:
            numbers = [int(name)] if 1 <= int(name) <= len(self.contents) else []
        else:
            ids = [f"0x{content.id:064x}" for content in self.contents]
            numbers = [
                place
                for place, (content, found) in enumerate(zip(self.contents, ids, strict=True), start=1)
                if (name.startswith("0x") and found.startswith(name.lower())) or name == str(content.id)
            ]
        if len(numbers) != 1:
            raise NodeError(
                f"{len(numbers) or 'no'} proposals are called {name[:80]!r}: `openledger-node gov list --all` shows "
                "their numbers"
            )
        return self._find(numbers[0])

    def _find(self, number: int) -> FoundProposal:
        content = self.contents[number - 1]
        return FoundProposal(number=number, content=content, state=self._state(content))

    def _state(self, content: ProposedContent) -> ProposalState:
        """The state, without a question to the chain if the proposal is over for good."""
        if content.id in self._executed:
            return ProposalState.EXECUTED
        if content.id in self._canceled:
            return ProposalState.CANCELED
        if content.id in self._defeated:
            return ProposalState.DEFEATED
        state = self.governance.state(content.id)
        if state == ProposalState.DEFEATED and self.now_s > content.deadline_s + 2 * self.voting.period_s:
            self._defeated.add(content.id)
        return state

    @cached_property
    def _executed(self) -> dict[int, Event]:
        return {integer(event, "proposalId"): event for event in self._events.find("ProposalExecuted")}

    @cached_property
    def _canceled(self) -> set[int]:
        return {integer(event, "proposalId") for event in self._events.find("ProposalCanceled")}

    # ---- for JSON

    def to_plain(self, found: FoundProposal, account: Address, *, is_whole: bool = False) -> dict[str, Any]:
        """A proposal as `account` sees it; `is_whole` adds its description, its raw calls and its voters."""
        content, before = found.content, self.values_before(found.content)
        actions = describe_calls(content.calls, self._addresses, before)
        tally = self.governance.tally(content.id)
        quorum = self._quorum(content)
        shown_actions = [plain_of(action) for action in actions]
        if not is_whole:
            for each in shown_actions:
                del each["data"]
        return {
            "number": found.number,
            "id": found.id,
            "state": found.state.name.lower(),
            "is_open": found.is_open,
            "title": title_of(actions, len(content.calls)),
            "proposer": content.proposer,
            "actions": shown_actions,
            "num_calls": len(content.calls),
            "is_understood": len(actions) == len(content.calls) and all(action.is_known for action in actions),
            "values": self._values(content, before),
            "slashes": self._slashes(content),
            **self._times(found),
            "active_epoch": self._active_epoch(found),
            **plain_of(tally),
            "quorum_wei": None if quorum is None else str(quorum),
            "is_carried": quorum is not None
            and is_decided(tally.for_wei, tally.against_wei, tally.abstain_wei, quorum),
            "own": self._own(found, account),
            "next": self._next(found, account),
            **(self._details(content) if is_whole else {}),
        }

    def _values(self, content: ProposedContent, before: Params) -> list[dict[str, Any]]:
        """The values that would change: those of the last call that sets them, since it undoes those before it."""
        wanted = [params for call in content.calls if (params := proposed_params(call, self._addresses))]
        if not wanted:
            return []
        return [
            {
                "key": spec.key,
                "was": str(value_of(before, spec)),
                "was_text": param_text(spec, value_of(before, spec)),
                "would": str(value_of(wanted[-1], spec)),
                "would_text": param_text(spec, value_of(wanted[-1], spec)),
                "bounds": bound_text(spec, self._bounds),
            }
            for spec in changed_params(before, wanted[-1])
        ]

    def _slashes(self, content: ProposedContent) -> list[dict[str, Any]]:
        """The stakes that would be burnt."""
        found = (proposed_slash(call, self._addresses) for call in content.calls)
        return [plain_of(slash) for slash in found if slash]

    def _active_epoch(self, found: FoundProposal) -> int | None:
        """The first epoch with a proposal's values, at the earliest; None if it sets none, or can't take effect."""
        if all(proposed_params(call, self._addresses) is None for call in found.content.calls):
            return None
        if executed := self._executed.get(found.content.id):
            queued = self._events.find("ParamsQueued", first=executed.block.number, last=executed.block.number)
            mine = [each for each in queued if each.transaction_hash == executed.transaction_hash]
            return queued_of(mine[-1]).from_epoch if mine else None
        if not found.is_open:
            return None
        if found.state == ProposalState.QUEUED:
            execute_s = self.governance.eta_s(found.content.id)
        else:
            ends_s = self.governance.deadline_s(found.content.id)
            execute_s = max(self.now_s, ends_s) + self.voting.timelock_s
        return epoch_at(max(self.now_s, execute_s), self.session.windows) + ACTIVE_AFTER_EPOCHS

    def values_before(self, content: ProposedContent) -> Params:
        """The values that a proposal changes: those before its execution, or else the newest."""
        executed = self._executed.get(content.id)
        if executed is None or all(proposed_params(call, self._addresses) is None for call in content.calls):
            return self.newest
        rows = [event for event in self._events.find("ParamsQueued") if event.block.number <= executed.block.number]
        earlier = [event for event in rows if event.transaction_hash != executed.transaction_hash]
        return history_of(earlier)[-1].params if earlier else self.newest

    @property
    def _addresses(self) -> Any:
        return self.session.deployment.addresses

    def _times(self, found: FoundProposal) -> dict[str, Any]:
        content, voting = found.content, self.voting
        ends_s = self.governance.deadline_s(content.id) if found.is_open else self._last_deadline(content)
        eta_s = self.governance.eta_s(content.id) if found.state == ProposalState.QUEUED else 0
        executed = self._executed.get(content.id)
        return {
            "proposed_at_s": content.snapshot_s - voting.delay_s,
            "votes_from_s": content.snapshot_s,
            "votes_until_s": ends_s,
            "is_extended": ends_s > content.deadline_s,
            "execute_from_s": eta_s or None,
            "executed_in": executed.transaction_hash if executed else None,
        }

    def _last_deadline(self, content: ProposedContent) -> int:
        extended = self._events.find("ProposalExtended", {"proposalId": content.id})
        return integer(extended[-1], "extendedDeadline") if extended else content.deadline_s

    def _quorum(self, content: ProposedContent) -> int | None:
        """The quorum; None before voting begins, since it depends on the votes that there are then."""
        return self.governance.quorum(content.snapshot_s) if content.snapshot_s < self.now_s else None

    def weight(self, content: ProposedContent, account: Address) -> int:
        """The votes of an account that count for a proposal; those that it has now, before voting begins."""
        if content.snapshot_s < self.now_s:
            return self.governance.votes_at(account, content.snapshot_s)
        return self.governance.votes(account)

    def _own(self, found: FoundProposal, account: Address) -> dict[str, Any]:
        cast = self._events.find("VoteCast", {"voter": account, "proposalId": found.content.id})
        return {
            "account": account,
            "weight_wei": str(self.weight(found.content, account)),
            "support": Support(integer(cast[-1], "support")).name.lower() if cast else None,
        }

    def _next(self, found: FoundProposal, account: Address) -> str | None:
        """The command that takes a proposal on."""
        match found.state:
            case ProposalState.ACTIVE if not self.governance.has_voted(found.content.id, account):
                return f"gov vote {found.number} for"
            case ProposalState.SUCCEEDED:
                return f"gov queue {found.number}"
            case ProposalState.QUEUED if self.governance.eta_s(found.content.id) <= self.now_s:
                return f"gov execute {found.number}"
            case _:
                return None

    def _details(self, content: ProposedContent) -> dict[str, Any]:
        text = _PROPOSER_MARK.sub("", content.description)
        cast = self._events.find("VoteCast", {"proposalId": content.id})
        greatest = sorted(cast, key=lambda event: -integer(event, "weight"))[:VOTERS_SHOWN_MAX]
        return {
            "description": shown(text[:DESCRIPTION_CHARACTERS_MAX]),
            "is_description_cut": len(text) > DESCRIPTION_CHARACTERS_MAX,
            "num_voters": len(cast),
            "voters": [_vote_to_plain(event) for event in greatest],
        }


def _vote_to_plain(event: Event) -> dict[str, Any]:
    return {
        "voter": str(event.arguments["voter"]),
        "support": Support(integer(event, "support")).name.lower(),
        "weight_wei": str(integer(event, "weight")),
        "reason": shorten(str(event.arguments["reason"]), REASON_CHARACTERS_MAX),
    }


def open_values(found: Sequence[FoundProposal], addresses: Any) -> list[FoundProposal]:
    """Those proposals that set the network's values."""
    return [each for each in found if any(proposed_params(call, addresses) for call in each.content.calls)]


def under_way(session: NetworkSession, account: Address) -> list[Transaction]:
    """Transactions of an account that only the outbox knows: they are not mined, or their block was not read yet."""
    blocks = session.ledger.events.last_blocks()
    last_read = blocks[0].number if blocks else -1
    return [
        sent
        for sent in session.ledger.outbox.unfinished()
        if sent.intent.sender == account and (sent.state not in MINED or (sent.block_number or 0) > last_read)
    ]
