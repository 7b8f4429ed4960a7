"""Queries about votes: proposals, the values that they may change, and the guardian's stop, for JSON.

A command and the page show the same answers.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from openledger_protocol.epoch import epoch_at
from openledger_protocol.governance import (
    ALGORITHMS,
    PARAM_SPECS,
    ParamBounds,
    ParamSpec,
    QueuedParams,
    moves_from,
    step_of,
    value_of,
)
from openledger_protocol.primitives import ZERO_ADDRESS, Address, check_address

from ..chain.governance import Guardian
from ..chain.param_words import bound_text, param_text, range_text
from ..settlement.session import NetworkSession
from .proposals import PROPOSALS_SHOWN_MAX, Proposals

FIXED_TIMES = {
    "epoch_s": "epoch; values change with an epoch only",
    "propose_s": "to propose a payout list after a claim, and to show it after the review period",
    "window_s": "review period of a payout list",
    "slash_gap_s": "from one slash of a node to the next",
    "unbonding_s": "until unbonded stake can be taken out",
    "withdraw_delay_min_s": "least withdraw delay of a channel",
    "withdraw_delay_max_s": "greatest withdraw delay of a channel",
    "withdraw_period_s": "to finish a channel's withdrawal",
}
"""Fields of `Windows`, which nobody can change."""


Arguments = Mapping[str, Any]


class GovernanceQueries:
    """Answers queries about values, proposals and votes, from the account of the node's wallet or of another."""

    def __init__(self, session: NetworkSession) -> None:
        self._session = session
        self._defeated: set[int] = set()
        self.answers: Mapping[str, Callable[[Arguments], Any]] = {
            "gov_params": lambda _: params_to_plain(session),
            "gov_list": self._list,
            "gov_show": self._show,
            "gov_votes": lambda given: votes_to_plain(session, self._account(given)),
        }

    def _list(self, given: Arguments) -> dict[str, Any]:
        """The open proposals, or with `all` those that are over, too, at most `limit`; newest first."""
        proposals, account = Proposals(self._session, self._defeated), self._account(given)
        limit = max(1, int(given.get("limit") or PROPOSALS_SHOWN_MAX))
        found = proposals.newest_first(limit) if given.get("all") else proposals.open()[::-1]
        return {
            "chain_time_s": proposals.now_s,
            "num_proposals": len(proposals.contents),
            "proposals": [proposals.to_plain(each, account) for each in found],
            "voting": voting_to_plain(proposals),
        }

    def _show(self, given: Arguments) -> dict[str, Any]:
        """One proposal whole, by number or id."""
        proposals = Proposals(self._session, self._defeated)
        found = proposals.find(str(given["proposal"]))
        return {
            "chain_time_s": proposals.now_s,
            **proposals.to_plain(found, self._account(given), is_whole=True),
        }

    def _account(self, given: Arguments) -> Address:
        account = given.get("account")
        return check_address(account) if account else self._session.accounts.wallet


def params_to_plain(session: NetworkSession) -> dict[str, Any]:
    """The network's values with what is queued, their bounds and meaning, the rules of votes, and the guardian."""
    proposals = Proposals(session)
    governance, windows, now_s = proposals.governance, session.windows, proposals.now_s
    epoch = epoch_at(now_s, windows)
    history, bounds = proposals.history, governance.bounds()
    return {
        "network": session.network.network,
        "chain_time_s": now_s,
        "epoch": epoch,
        "epoch_ends_s": (epoch + 1) * windows.epoch_s,
        "values": [_value(spec, history, bounds, epoch) for spec in PARAM_SPECS],
        "algorithms": {str(number): name for number, name in ALGORITHMS.items()},
        "fixed": [
            {"name": name, "seconds": getattr(windows, name), "meaning": meaning}
            for name, meaning in FIXED_TIMES.items()
        ],
        "guardian": guardian_to_plain(governance.guardian(), now_s, session.accounts.wallet),
        "voting": voting_to_plain(proposals),
    }


def votes_to_plain(session: NetworkSession, account: Address | None = None) -> dict[str, Any]:
    """The votes of an account, and who casts those of its tokens."""
    proposals = Proposals(session)
    governance, account = proposals.governance, account or session.accounts.wallet
    delegate = governance.delegate_of(account)
    return {
        "account": account,
        "votes_wei": str(governance.votes(account)),
        "held_wei": str(governance.held(account)),
        "delegate": None if delegate == ZERO_ADDRESS else delegate,
        "staked_wei": str(session.deployment.stake(account).bonded_wei),
        "votes_token": governance.votes_token,
        "is_wrapped": governance.is_wrapped,
        **voting_to_plain(proposals),
    }


def voting_to_plain(proposals: Proposals) -> dict[str, Any]:
    """Times of a vote, and the votes that it takes."""
    governance, voting = proposals.governance, proposals.voting
    return {
        "delay_s": voting.delay_s,
        "period_s": voting.period_s,
        "extension_s": governance.late_extension_s(),
        "timelock_s": voting.timelock_s,
        "threshold_wei": str(voting.threshold_wei),
        "quorum_wei": str(governance.quorum(proposals.now_s - 1)),
        "supply_wei": str(governance.supply()),
        "timelock": governance.timelock,
    }


def guardian_to_plain(guardian: Guardian, now_s: int, wallet: Address) -> dict[str, Any]:
    """The guardian, a stop of new deposits that runs, and if one can still begin."""
    until_s = guardian.stopped_until_s
    return {
        "account": guardian.account,
        "is_own": guardian.account == wallet,
        "stopped_until_s": until_s if until_s > now_s else None,
        "can_stop": until_s == 0,
    }


def _value(spec: ParamSpec, history: list[QueuedParams], bounds: ParamBounds, epoch: int) -> dict[str, Any]:
    now = next(row for row in reversed(history) if row.from_epoch <= epoch)
    value, bound = value_of(now.params, spec), bounds.of(spec)
    queued = [
        {"from_epoch": row.from_epoch, "value": str(coming), "text": param_text(spec, coming)}
        for before, row in pairwise(history)
        if row.from_epoch > epoch and (coming := value_of(row.params, spec)) != value_of(before.params, spec)
    ]
    step = step_of(spec, value_of(history[-1].params, spec), bounds)
    earliest = moves_from(spec, history) if step else 0
    return {
        "key": spec.key,
        "unit": spec.unit,
        "now": str(value),
        "text": param_text(spec, value),
        "queued": queued,
        "least": None if bound is None else str(bound[0]),
        "most": None if bound is None else str(bound[1]),
        "bounds": bound_text(spec, bounds),
        "step": range_text(spec, step) if step else None,
        "moves_from_epoch": earliest if earliest > epoch else None,
        "meaning": spec.meaning,
    }
