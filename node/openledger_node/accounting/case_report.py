"""The report of cases about receipts: who is at risk of what until when, and what this node can do."""

from collections.abc import Mapping
from typing import Any

from openledger_protocol.primitives import check_address

from ..chain.refusals import open_text, time_text
from ..keystore import SIGNER, WALLET
from ..settlement.cases import CaseFinding, KnownCase
from ..settlement.session import NetworkSession
from .plain import plain_of

COMMAND = "openledger-node attribution"


def cases_report(session: NetworkSession, given: Mapping[str, Any]) -> dict[str, Any]:
    """The open cases of a network or of one `node`; with `all`, also those that have ended. Oldest first.

    Raises:
        ChainError: the chain can't be asked.
        MalformedError: `node` is no address.
    """
    node = check_address(given["node"]) if given.get("node") else None
    cases = session.cases.all() if given.get("all") else session.cases.open()
    now_s, disputes, accounts = session.client.head().timestamp_s, session.cases.disputes, session.accounts
    return {
        "cases": [_case(session, case, now_s) for case in cases if node in (None, case.node)],
        "bond_now_wei": str(disputes.bond_now_wei()),
        "to_withdraw": [
            {"name": name, "account": account, "amount_wei": str(disputes.balance_wei(account))}
            for name, account in ((WALLET, accounts.wallet), (SIGNER, accounts.signer))
        ],
        "chain_time_s": now_s,
    }


def _case(session: NetworkSession, case: KnownCase, now_s: int) -> dict[str, Any]:
    """A case for JSON; `shares_are_right` is None if this node can't tell, or if the case has ended."""
    finding = session.cases.finding(case) if case.state == "open" else CaseFinding(is_right=None, detail="")
    receipt = finding.challenge.receipt if finding.challenge else None
    return {
        **plain_of(case),
        "adapter_id": receipt.adapter_id if receipt else None,
        "amount_wei": str(receipt.amount_wei) if receipt else None,
        "shares_are_right": finding.is_right,
        "detail": finding.detail,
        "next": _next(session, case, finding, now_s) if case.state == "open" else "",
    }


def _next(session: NetworkSession, case: KnownCase, finding: CaseFinding, now_s: int) -> str:
    """Say what happens next, and what this node can do."""
    wallet, signer = session.accounts.wallet, session.accounts.signer
    if now_s > case.judge_until_s:
        return f"nobody judged it: `{COMMAND} close {case.digest}` gives each side its bond back"
    votes = f"the votes judge it until {time_text(case.judge_until_s)}"
    can_contest = now_s <= case.contest_until_s and (case.contester is None or case.node == wallet)
    if not can_contest or wallet in (case.challenger, case.contester) or signer == case.contester:
        return votes
    if finding.is_right is False:
        return f"{votes}; to contest it would lose the bond"
    gain = f"puts {open_text(case.bond_wei)} at risk, and wins as much if they agree"
    return f"{votes}; until {time_text(case.contest_until_s)} `{COMMAND} contest {case.digest}` {gain}"
