"""Unsigned transactions, for an account whose key is in a hardware wallet or in another program.

Without a key there is no permit. A payment therefore takes two transactions: the account approves the contract, and
the contract then takes the payment.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from openledger_protocol.primitives import Address
from openledger_protocol.transactions import Intent, OutboxLimits, fee_cap_wei, first_price, gas_limit_from_estimate

from ..chain.client import ChainClient
from ..chain.deployment import Deployment
from ..chain.encoding import UnsignedTransaction
from ..errors import ChainError
from .actions import Action, Actor, Sign, intent_of
from .approvals import gas_of, with_approvals


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
    for place, action in enumerate(with_approvals(actions, account, deployment, has_key=False)):
        intent = intent_of(action, actor, deployment, key=f"unsigned:{place}")
        steps.append(_step(intent, client, deployment.chain_id, nonce + place, limits))
    return steps


def _step(intent: Intent, client: ChainClient, chain_id: int, nonce: int, limits: OutboxLimits) -> UnsignedStep:
    gas_limit = gas_limit_from_estimate(gas_of(intent, client), intent.call.data)
    price = first_price(client.fees(), gas_limit=gas_limit, cap_wei=fee_cap_wei(intent, limits))
    if price is None:
        raise ChainError(f"gas for {intent.summary!r} costs more than its cap: wait, or raise [chain] fee_max_wei")
    unsigned = UnsignedTransaction(chain_id=chain_id, nonce=nonce, price=price, gas_limit=gas_limit, call=intent.call)
    return UnsignedStep(intent=intent, unsigned=unsigned)
