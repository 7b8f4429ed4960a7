"""Unsigned transactions, for an account whose key is in a hardware wallet or in another program.

Without a key there is no permit. A payment therefore takes two transactions: the account approves the contract, and
the contract then takes the payment.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from openledger_protocol.chain import ContractCall
from openledger_protocol.errors import RevertedError
from openledger_protocol.primitives import Address
from openledger_protocol.transactions import Intent, OutboxLimits, fee_cap_wei, first_price, gas_limit_from_estimate

from ..chain.client import ChainClient
from ..chain.contracts import explain_revert, open_text
from ..chain.deployment import Deployment
from ..chain.encoding import UnsignedTransaction
from ..errors import ChainError, NodeError
from .actions import Action, Actor, ApproveSpending, Sign, intent_of, payment_of

NOT_APPROVED = "ERC20InsufficientAllowance"

PAYMENT_GAS, PAYMENT_GAS_PER_BYTE = 300_000, 500
"""Gas limit of a payment that can't be simulated before its approval is mined. Staking uses 87,000, opening a channel
132,000 and registering an adapter 290,000. Each further Datanet of an adapter adds 64 bytes to the call and up to
30,000 gas. What is not used costs nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedStep:
    """One transaction for another program to sign."""

    intent: Intent
    unsigned: UnsignedTransaction


def prepare_unsigned(
    actions: Sequence[Action],
    account: Address,
    *,
    client: ChainClient,
    deployment: Deployment,
    nonce: int,
    limits: OutboxLimits,
    sign_as_signer: Sign,
) -> list[UnsignedStep]:
    """Prepare the transactions of an account's actions, with nonces from `nonce` on, and simulate each.

    `sign_as_signer` signs this node's consent to be the account's signer.

    Raises:
        RevertedError: a contract refuses one of them.
        NodeError: the account can't pay, or gas costs more than its limit.
        ChainError: the chain does not answer.
    """
    actor = Actor(account=account, sign=None, sign_as_signer=sign_as_signer, now_s=client.head().timestamp_s)
    steps = []
    for place, action in enumerate(_with_approvals(actions, account, deployment)):
        intent = intent_of(action, actor, deployment, key=f"unsigned:{place}")
        steps.append(_step(intent, client, deployment.chain_id, nonce + place, limits))
    return steps


def _with_approvals(actions: Sequence[Action], account: Address, deployment: Deployment) -> Iterator[Action]:
    """Put an approval before each payment that is not approved yet."""
    for action in actions:
        if payment := payment_of(action):
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


def _step(intent: Intent, client: ChainClient, chain_id: int, nonce: int, limits: OutboxLimits) -> UnsignedStep:
    gas_limit = _gas_limit(intent, client)
    price = first_price(client.fees(), gas_limit=gas_limit, cap_wei=fee_cap_wei(intent, limits))
    if price is None:
        raise ChainError(f"gas for {intent.summary!r} costs more than its cap: wait, or raise [chain] fee_max_wei")
    unsigned = UnsignedTransaction(chain_id=chain_id, nonce=nonce, price=price, gas_limit=gas_limit, call=intent.call)
    return UnsignedStep(intent=intent, unsigned=unsigned)


def _gas_limit(intent: Intent, client: ChainClient) -> int:
    """Simulate a call; one that only lacks its approval passed every other check of the contract."""
    try:
        return gas_limit_from_estimate(client.estimate_gas(intent.call, sender=intent.sender), intent.call.data)
    except RevertedError as error:
        explained = explain_revert(error)
        if explained.name != NOT_APPROVED:
            raise explained from error
        return payment_gas_limit(intent.call)


def payment_gas_limit(call: ContractCall) -> int:
    """The gas limit of a payment that can't be simulated yet."""
    return PAYMENT_GAS + PAYMENT_GAS_PER_BYTE * len(call.data)
