"""The action of sending a withdrawal that another account has signed, for its fee."""

from dataclasses import dataclass

from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import Address
from openledger_protocol.relayed import RelayedWithdrawal

from ..chain.deployment import Deployment
from ..chain.refusals import open_text


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayWithdrawal:
    """Send another account's withdrawal, and take its fee."""

    withdrawal: RelayedWithdrawal
    relay: Address  # the account that sends it and gets the fee


def relay_call(action: RelayWithdrawal, deployment: Deployment) -> tuple[str, str, ContractCall]:
    """Kind, summary and call of the action: the payout first, since the fee is paid only after it."""
    withdrawal = action.withdrawal
    claims, signatures = [withdrawal.payout], [withdrawal.signature]
    if fee := withdrawal.fee_for(action.relay):
        claims.append(fee[0])
        signatures.append(fee[1])
    summary = (
        f"send the withdrawal of {open_text(withdrawal.amount_wei)} that {withdrawal.account} has signed to "
        f"{withdrawal.to}, for a fee of {open_text(withdrawal.fee_wei)}"
    )
    return "relay", summary, deployment.withdraw_for(claims, signatures)
