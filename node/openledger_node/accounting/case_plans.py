"""Plans about cases: to challenge a receipt, to contest a case and to close one.

Everything that the contract would refuse is refused here first, with a sentence, and so is a challenge that would
lose its bond: this node computes the shares of the receipt again before it publishes anything.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from openledger_protocol.attribution import Share
from openledger_protocol.cases import (
    REWARD_PART,
    TEXTS_BYTES_MAX,
    CaseTexts,
    case_texts,
    contest_until_s,
    judge_until_s,
    no_case_until_s,
)
from openledger_protocol.eip712 import keccak_digest
from openledger_protocol.opening import Opening
from openledger_protocol.payments import ChannelConfig
from openledger_protocol.primitives import ZERO_ADDRESS, Address, Wei

from ..attribution.recount import ShareRecount
from ..chain.cases import Challenge
from ..chain.refusals import open_text, time_text
from ..errors import NodeError
from ..home import Home
from ..ledger.receipts import ReceiptRow
from ..payments.bought_texts import open_bought_texts
from ..settlement.case_actions import CaseAction, ChallengeReceipt, CloseCase, ContestCase, case_call
from ..settlement.cases import CaseFinding, KnownCase, different_shares
from ..settlement.session import NetworkSession
from .publishing import Planner, Publication, is_under_way
from .receipt_check import find_receipt

SHARES_SHOWN: Final = 8


def challenge_receipt(
    home: Home, session: NetworkSession, account: Address, arguments: Mapping[str, Any]
) -> Publication:
    """Plan to open a case about a receipt whose shares are wrong.

    Raises:
        NodeError: it can't be challenged by this account, or not now, or its shares are right.
    """
    row = find_receipt(session.ledger, str(arguments["receipt"]))
    channel = session.ledger.channels.find(row.receipt.channel_id)
    assert channel is not None, "a receipt is charged to a channel"
    _check_payer(session, channel.config, account)
    opening = open_bought_texts(home, session).find(row.digest)
    challenge = _challenge(row, channel.config, opening)
    _check_time(session, row)
    _check_free(session, channel.config.node, row)
    assert opening is not None
    expected = _recount(session).shares_of(row.receipt, opening.messages, opening.text)
    if expected == row.shares:
        raise NodeError(
            "the shares of this receipt are what the rule gives, computed here to the integer: a challenge would be "
            "wrong, and lose its bond"
        )
    bond_wei = _check_bond(session, account, session.cases.disputes.bond_now_wei())
    action = ChallengeReceipt(digest=row.digest, challenge=challenge, bond_wei=bond_wei)
    return _unless_under_way(session, action, *_challenge_details(session, challenge, expected, bond_wei))


def contest_case(home: Home, session: NetworkSession, account: Address, arguments: Mapping[str, Any]) -> Publication:
    """Plan to stand up for the node of a case.

    Raises:
        NodeError: it is over, contested already, or the account's own.
    """
    case = find_case(session, str(arguments["case"]))
    _check_open(case)
    if case.contester == account:
        raise NodeError(f"{account} has contested this case already: the votes judge it next")
    if case.contester and account != case.node:
        raise NodeError(f"{case.contester} has contested this case, and only the node itself can take that place")
    if case.challenger == account:
        raise NodeError(f"{account} has opened this case: contesting it would put up a bond against itself")
    if _now_s(session) > case.contest_until_s:
        raise NodeError(f"it could be contested until {time_text(case.contest_until_s)}: the votes judge it next")
    bond_wei = _check_bond(session, account, case.bond_wei)
    details = _contest_details(case, session.cases.finding(case))
    return _unless_under_way(session, ContestCase(digest=case.digest, bond_wei=bond_wei), *details)


def close_case(home: Home, session: NetworkSession, account: Address, arguments: Mapping[str, Any]) -> Publication:
    """Plan to end a case that was not judged in time.

    Raises:
        NodeError: it is over, or can still be judged.
    """
    case = find_case(session, str(arguments["case"]))
    _check_open(case)
    if _now_s(session) <= case.judge_until_s:
        raise NodeError(f"this case can be judged until {time_text(case.judge_until_s)}: close it after that")
    detail = f"Nobody judged this case, so each side gets back its bond of {open_text(case.bond_wei)}."
    return _unless_under_way(session, CloseCase(digest=case.digest), detail)


CASE_PLANNERS: Final[Mapping[str, Planner]] = {
    "attribution challenge": challenge_receipt,
    "attribution contest": contest_case,
    "attribution close": close_case,
}


def _unless_under_way(session: NetworkSession, action: CaseAction, *details: str) -> Publication:
    """Send nothing twice: a command that was cut off may have stored its transaction already."""
    _, summary, call = case_call(action, session.deployment)
    if is_under_way(session, lambda sent: sent == call):
        return Publication(note=f"to {summary} is on its way already")
    return Publication(actions=(action,), details=details)


def find_case(session: NetworkSession, beginning: str) -> KnownCase:
    """Find the case whose receipt's digest begins with this text.

    Raises:
        NodeError: none or several do.
    """
    found = [case for case in session.cases.all() if case.digest.startswith(beginning)]
    if len(found) == 1:
        return found[0]
    raise NodeError(
        f"{len(found)} cases begin with {beginning!r}: `openledger-node attribution cases --all` lists them"
    )


# ---- checks of a challenge


def _check_payer(session: NetworkSession, config: ChannelConfig, account: Address) -> None:
    if account not in (config.payer, config.authorizer):
        raise NodeError(
            f"{account} did not pay for this answer, and nobody can make the texts of others public: only its payer "
            f"{config.payer} can challenge its receipt, or the payer's key for vouchers; choose it with --wallet"
        )
    if config.node in (config.payer, config.authorizer) or session.deployment.is_signer(config.node, account):
        raise NodeError(f"{account} belongs to node {config.node} itself, and a node can't challenge itself")


def _challenge(row: ReceiptRow, config: ChannelConfig, opening: Opening | None) -> Challenge:
    if opening is None:
        raise NodeError(
            "the texts of this receipt are not here, and a challenge has to show them: set [payer] keep_texts_s to "
            "keep those of answers that you buy from now on"
        )
    texts = case_texts(opening)
    if texts.size_bytes > TEXTS_BYTES_MAX:
        raise NodeError(
            f"question and answer have {texts.size_bytes:,} bytes, and a challenge takes {TEXTS_BYTES_MAX:,}: buy a "
            "shorter answer of this node, and challenge that one if its shares are wrong too"
        )
    work = row.receipt.work
    if (keccak_digest(texts.prompt), keccak_digest(texts.output)) != (work.prompt_commit, work.output_commit):
        raise NodeError(
            "the node has signed other texts than those that are kept here, as when a stream broke off: a challenge "
            "has to show the signed ones, so this receipt can't be challenged"
        )
    assert row.signature is not None, "a payer stores signed receipts only"
    return Challenge(config=config, receipt=row.receipt, shares=row.shares, node_signature=row.signature, texts=texts)


def _check_time(session: NetworkSession, row: ReceiptRow) -> None:
    now_s, issued_s, unbonding_s = _now_s(session), row.receipt.issued_at_s, session.windows.unbonding_s
    if issued_s < now_s - unbonding_s:
        raise NodeError(
            f"this receipt could be challenged until {time_text(issued_s + unbonding_s)}: the node's stake does not "
            "answer for it any more"
        )
    if issued_s > now_s:
        raise NodeError(
            f"this receipt is of {time_text(issued_s)}, and the chain is only at {time_text(now_s)}: run this again "
            f"in {issued_s - now_s} s"
        )


def _check_free(session: NetworkSession, node: Address, row: ReceiptRow) -> None:
    """Require that there can be a case against a node now, and about this receipt."""
    disputes, now_s = session.cases.disputes, _now_s(session)
    state = disputes.case(row.digest).state
    if state != "none":
        how = "is open" if state == "open" else f"has ended: {state}"
        raise NodeError(f"there is one case about a receipt, and the one about this one {how}")
    if sides := disputes.sides(node):
        raise NodeError(
            f"{sides.challenger} has an open case against {node}, and there is one at a time: "
            f"`openledger-node attribution cases --node {node}` shows when it ends"
        )
    until_s = no_case_until_s(disputes.record(node).slashed_at_s, session.windows)
    if now_s < until_s:
        raise NodeError(
            f"{node} was slashed lately, and has until {time_text(until_s)} to mend its fault: run this again then"
        )
    stake = session.deployment.stake(node)
    if not stake.bonded_wei + stake.unbonding_wei:
        raise NodeError(f"{node} has no stake left, so a case could cost it nothing")


def _check_bond(session: NetworkSession, account: Address, bond_wei: Wei) -> Wei:
    if (balance_wei := session.deployment.token_balance(account)) < bond_wei:
        raise NodeError(
            f"the bond is {open_text(bond_wei)}, and {account} has {open_text(balance_wei)}: send it more OPEN first"
        )
    return bond_wei


def _check_open(case: KnownCase) -> None:
    if case.state != "open":
        raise NodeError(f"this case has ended: {case.state}")


def _recount(session: NetworkSession) -> ShareRecount:
    assert session.cases.recount is not None, "the sessions of commands and of the daemon compute shares"
    return session.cases.recount


def _now_s(session: NetworkSession) -> int:
    return session.client.head().timestamp_s


# ---- what is shown before it is confirmed


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareChange:
    """One account's share as the receipt has it, and as the rule gives it."""

    account: Address
    given_ppm: int
    expected_ppm: int


def changed_shares(given: Sequence[Share], expected: Sequence[Share]) -> list[ShareChange]:
    """The shares that differ, the largest difference first."""
    ours = {(share.datanet_id, share.account): share.ppm for share in expected}
    theirs = {(share.datanet_id, share.account): share.ppm for share in given}
    found = [
        ShareChange(account=key[1], given_ppm=theirs.get(key, 0), expected_ppm=ours.get(key, 0))
        for key in {**theirs, **ours}
        if theirs.get(key) != ours.get(key)
    ]
    return sorted(found, key=lambda change: -abs(change.given_ppm - change.expected_ppm))


def _challenge_details(
    session: NetworkSession, challenge: Challenge, expected: tuple[Share, ...], bond_wei: Wei
) -> Iterator[str]:
    stake, now_s = session.deployment.stake(challenge.config.node), _now_s(session)
    loss_wei = min(session.params().min_stake_wei, stake.bonded_wei + stake.unbonding_wei)
    yield f"The receipt's shares, computed again here: {different_shares(challenge.shares, expected)}."
    yield from _share_lines(challenge.shares, expected)
    yield f"Your bond is {open_text(bond_wei)}."
    yield (
        f"If the votes find the node guilty, you get it back with {open_text(loss_wei // REWARD_PART)}, a tenth of "
        "what the node loses now, and the bond of who contested."
    )
    yield "If they find it not guilty, you lose it to who contested, or else to the node."
    yield (
        f"Anybody can contest until about {time_text(contest_until_s(now_s, session.windows))}. Without a judgement "
        f"until about {time_text(judge_until_s(now_s, session.windows))} you get it back."
    )
    yield _publicity(challenge.texts)


def _publicity(texts: CaseTexts) -> str:
    return (
        f"BOTH TEXTS BECOME PUBLIC FOR EVER: your question with all turns before it, and the answer, "
        f"{texts.size_bytes:,} bytes. Nobody can take them off the chain again."
    )


def _share_lines(given: Sequence[Share], expected: Sequence[Share]) -> Iterator[str]:
    changes = changed_shares(given, expected)
    for change in changes[:SHARES_SHOWN]:
        account = "the Datanet's treasury" if change.account == ZERO_ADDRESS else change.account
        yield f"  {account} has {change.given_ppm:,} ppm, and the rule gives {change.expected_ppm:,}"
    if len(changes) > SHARES_SHOWN:
        yield f"  and {len(changes) - SHARES_SHOWN} more"


def _contest_details(case: KnownCase, finding: CaseFinding) -> Iterator[str]:
    bond = open_text(case.bond_wei)
    if finding.is_right:
        yield "The node's shares, computed again here, are what the rule gives: the challenge is wrong."
    elif finding.is_right is None:
        yield f"NOT CHECKED: this node can't compute the shares of this case. {finding.detail}"
    else:
        yield f"WARNING: the challenge is right. The node's shares, computed again here: {finding.detail}."
        if finding.challenge:
            yield from _share_lines(finding.challenge.shares, finding.expected)
        yield "The votes can compute the same, and then you lose your bond."
    yield f"Your bond is {bond}. If the votes find the node not guilty, you get it back with the challenger's {bond}."
    yield (
        "If they find it guilty, the challenger gets your bond. Without a judgement until "
        f"{time_text(case.judge_until_s)} you get it back."
    )
