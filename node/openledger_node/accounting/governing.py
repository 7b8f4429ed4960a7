"""Queries about votes by name, with plain values for JSON: a command and the page show the same."""

from collections.abc import Callable, Mapping
from typing import Any

from openledger_protocol.primitives import Address, check_address

from ..settlement.session import NetworkSession
from .gov_params import params_to_plain, votes_to_plain, voting_to_plain
from .proposals import PROPOSALS_SHOWN_MAX, Proposals

Arguments = Mapping[str, Any]


class GovernanceQueries:
    """Answers queries about values, proposals and votes, from the account of the node's wallet or of another."""

    def __init__(self, session: NetworkSession) -> None:
        self._session = session
        self.answers: Mapping[str, Callable[[Arguments], Any]] = {
            "gov_params": lambda _: params_to_plain(session),
            "gov_list": self._list,
            "gov_show": self._show,
            "gov_votes": lambda given: votes_to_plain(session, self._account(given)),
        }

    def _list(self, given: Arguments) -> dict[str, Any]:
        """The open proposals, or with `all` those that are over, too, at most `limit`; newest first."""
        proposals, account = Proposals(self._session), self._account(given)
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
        proposals = Proposals(self._session)
        found = proposals.find(str(given["proposal"]))
        return {
            "chain_time_s": proposals.now_s,
            **proposals.to_plain(found, self._account(given), is_whole=True),
        }

    def _account(self, given: Arguments) -> Address:
        account = given.get("account")
        return check_address(account) if account else self._session.accounts.wallet
