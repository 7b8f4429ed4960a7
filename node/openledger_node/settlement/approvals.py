"""Approvals of payments that can't carry a permit, because token or contract take none.

The account approves the contract, and the contract then takes the payment.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from openledger_protocol.chain import ContractCall
from openledger_protocol.errors import RevertedError
from openledger_protocol.primitives import Address
from openledger_protocol.transactions import Intent

from ..chain.client import ChainClient
from ..chain.contracts import explain_revert
from ..chain.deployment import Deployment
from ..chain.refusals import open_text
from ..errors import NodeError
from .actions import Action, ApproveSpending, payment_of

NOT_APPROVED: Final = "ERC20InsufficientAllowance"

TAKES_PERMITS: Final = ("NodeStaking", "PaymentChannels", "ModelRegistry")
"""Contracts whose payments have a form with a permit."""

PAYMENT_GAS, PAYMENT_GAS_PER_BYTE = 300_000, 500
"""Gas limit of a payment that can't be simulated before its approval is mined. Staking uses 87,000, opening a channel
132,000 and registering an adapter 290,000. Each further Datanet of an adapter adds 64 bytes to the call and up to
30,000 gas. What is not used costs nothing."""


def with_approvals(actions: Sequence[Action], account: Address, deployment: Deployment) -> Iterator[Action]:
    """Put an approval before each payment that is not approved yet and can't carry a permit."""
    for action in actions:
        payment = payment_of(action)
        if payment and not (payment[0] in TAKES_PERMITS and deployment.permits):
            contract, amount_wei = payment
            _check_covers(account, amount_wei, deployment)
            if deployment.allowance(account, deployment.addresses[contract]) < amount_wei:
                yield ApproveSpending(contract=contract, amount_wei=amount_wei)
        yield action


def _check_covers(account: Address, amount_wei: int, deployment: Deployment) -> None:
    """Refuse a payment that the account can't make: its simulation would stop at the missing approval."""
    if (balance_wei := deployment.token_balance(account)) < amount_wei:
        raise NodeError(
            f"{account} has {open_text(balance_wei)}, and this needs {open_text(amount_wei)}; "
            "send OPEN to that account, or use a smaller amount"
        )


def gas_of(intent: Intent, client: ChainClient) -> int:
    """Simulate a call; one that only lacks its approval passed every other check of the contract.

    Raises:
        RevertedError: the contract refuses it for another reason.
    """
    try:
        return client.estimate_gas(intent.call, sender=intent.sender)
    except RevertedError as error:
        explained = explain_revert(error)
        if explained.name != NOT_APPROVED:
            raise explained from error
        return payment_gas_limit(intent.call)


def payment_gas_limit(call: ContractCall) -> int:
    """The gas limit of a payment that can't be simulated yet."""
    return PAYMENT_GAS + PAYMENT_GAS_PER_BYTE * len(call.data)
