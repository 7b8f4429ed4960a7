"""Withdrawals that other accounts have signed: their fee, and the checks before this node sends one.

The contract skips a withdrawal that it does not pay, and the gas is lost all the same. So everything that it checks
is checked here first, and a fee that does not cover the gas is refused.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from openledger_protocol.chain import Fees
from openledger_protocol.primitives import Address, Wei
from openledger_protocol.relayed import RelayedWithdrawal, check_withdrawal, withdrawal_from_json

from ..chain.contracts import load_contract
from ..chain.refusals import open_text, time_text
from ..errors import NodeError
from ..home import Home
from ..settlement.claimer import COIN_WEI
from ..settlement.relay_actions import RelayWithdrawal, relay_call
from ..settlement.session import NetworkSession
from ..text import rfc3339
from .publishing import Planner, Publication, is_under_way

RELAY_GAS: Final = 250_000
"""Gas for a payout and a fee. A delegated token writes two checkpoints of votes for each."""

MARGIN_S: Final = 60
"""A withdrawal that ends sooner may be mined too late, and then nobody is paid."""


def relay_quote(session: NetworkSession) -> dict[str, Any]:
    """The fee for which this node would send a signed withdrawal now, and the account that the fee must name.

    Raises:
        NodeError: the node does not know what gas costs in OPEN.
    """
    return {
        "network": session.network.network,
        "relay": session.accounts.wallet,
        "fee_wei": str(_cost_wei(session, RELAY_GAS, session.client.fees())),
        "gas": RELAY_GAS,
        "at": rfc3339(session.client.head().timestamp_s),
    }


def relay_withdrawal(_: Home, session: NetworkSession, account: Address, arguments: Mapping[str, Any]) -> Publication:
    """Plan to send a withdrawal that its account has signed.

    Raises:
        NodeError: the contract would not pay it, or its fee does not cover the gas.
        MalformedError: it is no signed withdrawal.
        BadSignatureError: its account has not signed it.
    """
    withdrawal = withdrawal_from_json(arguments["withdrawal"])
    _check_network(session, withdrawal)
    check_withdrawal(withdrawal)
    fee = withdrawal.fee_for(account)
    if withdrawal.fees and fee is None:
        names = ", ".join(each.relay for each in withdrawal.fees)
        raise NodeError(
            f"its fee is for {names} and not for {account}, so this account would earn nothing: choose the account "
            "with --wallet, or ask for a withdrawal that names this one"
        )
    _check_is_payable(session, withdrawal)
    action = RelayWithdrawal(withdrawal=withdrawal, relay=account)
    call = relay_call(action, session.deployment)[2]
    if is_under_way(session, lambda found: found == call):
        return Publication(note="this withdrawal is sent already, and waits to be mined")
    _check_none_waits(session, withdrawal)
    gas = session.client.estimate_gas(call, sender=account)
    cost_wei = _cost_wei(session, gas, session.client.fees())
    if withdrawal.fee_wei < cost_wei:
        raise NodeError(
            f"its fee is {open_text(withdrawal.fee_wei)}, and the gas costs {open_text(cost_wei)} now: "
            "`openledger-node rewards quote` says for which fee this node would send it"
        )
    return Publication(
        actions=(action,),
        details=(
            f"pays {open_text(withdrawal.amount_wei)} of {withdrawal.account} to {withdrawal.to}",
            f"earns {account} a fee of {open_text(withdrawal.fee_wei)} for gas worth {open_text(cost_wei)}",
        ),
        keep=partial(_check_again, session, withdrawal),
    )


RELAY_PLANNERS: Final[Mapping[str, Planner]] = {"rewards relay": relay_withdrawal}


def _check_network(session: NetworkSession, withdrawal: RelayedWithdrawal) -> None:
    if (withdrawal.network, withdrawal.domain) != (session.network.network, session.deployment.rewards):
        raise NodeError(
            f"it is a withdrawal on {withdrawal.network[:80]}, contract {withdrawal.domain.verifying_contract}, and "
            f"this node is on {session.network.network}: send it with a node of that network"
        )


def _check_is_payable(session: NetworkSession, withdrawal: RelayedWithdrawal) -> None:
    """Refuse what the contract would skip, by its own checks in its own order."""
    now_s = session.client.head().timestamp_s
    if withdrawal.deadline_s < now_s + MARGIN_S:
        raise NodeError(
            f"it ends at {time_text(withdrawal.deadline_s)}, which is over or too soon to be mined: ask for a new one"
        )
    nonce = session.deployment.rewards_nonce(withdrawal.account)
    if nonce == withdrawal.nonce + 1:
        raise NodeError("it was paid already, or another withdrawal of the account with the same nonce")
    if nonce != withdrawal.nonce:
        raise NodeError(
            f"its nonce is {withdrawal.nonce}, and the account's next one is {nonce}: ask for a new withdrawal"
        )
    balance_wei = session.deployment.rewards_balance(withdrawal.account)
    total_wei = withdrawal.amount_wei + withdrawal.fee_wei
    if balance_wei < total_wei:
        raise NodeError(
            f"payout and fee are {open_text(Wei(total_wei))}, and {withdrawal.account} has "
            f"{open_text(balance_wei)}: ask for a withdrawal of less"
        )


def _check_none_waits(session: NetworkSession, withdrawal: RelayedWithdrawal) -> None:
    """Refuse a withdrawal if another one uses its nonces and waits to be mined: only one of them can be paid."""
    rewards, ours = load_contract("AttributionRewards"), {withdrawal.nonce, withdrawal.nonce + 1}
    for sent in session.ledger.outbox.unfinished():
        if sent.intent.call.to != session.deployment.addresses["AttributionRewards"]:
            continue
        found = rewards.decode_call(sent.intent.call.data)
        claims: Any = found[1]["claims"] if found and found[0] == "withdrawFor" else ()
        if any(each["account"] == withdrawal.account and each["nonce"] in ours for each in claims):
            raise NodeError(
                f"another withdrawal of {withdrawal.account} with nonce {withdrawal.nonce} is sent already and waits "
                "to be mined: only one of the two can be paid, so wait for it, then ask for a new one"
            )


def _check_again(session: NetworkSession, withdrawal: RelayedWithdrawal) -> None:
    """Check a confirmed withdrawal right before it is sent, since others may have been sent since it was planned."""
    _check_is_payable(session, withdrawal)
    _check_none_waits(session, withdrawal)


def _cost_wei(session: NetworkSession, gas: int, fees: Fees) -> Wei:
    """The price of gas in wei of OPEN, rounded up; 0 on a development network."""
    if session.network.is_development:
        return Wei(0)
    if not session.coin_price_wei:
        raise NodeError(
            "this node does not know what gas costs in OPEN: "
            "run `openledger-node config set settlement.coin_price_wei WEI` first"
        )
    return Wei(-(-gas * (fees.base_wei + fees.tip_wei) * session.coin_price_wei // COIN_WEI))
