"""The contract x402BatchSettlement on a network's chain: states of channels, claims, and the contracts needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from openledger_protocol.chain import ContractCall, Fees
from openledger_protocol.errors import MalformedError, RevertedError
from openledger_protocol.primitives import ZERO_WEI, Address, ChannelId, Wei
from openledger_protocol.x402 import CONTRACT, PERMIT2, PERMIT2_COLLECTOR, X402Channel, X402Terms

from ..config import GatewayConfig
from ..errors import ChainError
from ..network_file import Network
from .client import ChainClient
from .contracts import ContractInterface
from .token import permit_domain, read_token

NEEDED: Final = {"x402BatchSettlement": CONTRACT, "Permit2DepositCollector": PERMIT2_COLLECTOR, "Permit2": PERMIT2}


def _field(name: str, type: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type, **more}


_CHANNEL = [
    _field("payer", "address"),
    _field("payerAuthorizer", "address"),
    _field("receiver", "address"),
    _field("receiverAuthorizer", "address"),
    _field("token", "address"),
    _field("withdrawDelay", "uint40"),
    _field("salt", "bytes32"),
]
_VOUCHER = [_field("channel", "tuple", components=_CHANNEL), _field("maxClaimableAmount", "uint128")]
_CLAIM = [
    _field("voucher", "tuple", components=_VOUCHER),
    _field("signature", "bytes"),
    _field("totalClaimed", "uint128"),
]


def _function(name: str, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "function", "name": name, "inputs": inputs, "outputs": outputs}


INTERFACE: Final = ContractInterface(
    "x402BatchSettlement",
    [
        _function(
            "channels",
            [_field("channelId", "bytes32")],
            [_field("balance", "uint128"), _field("totalClaimed", "uint128")],
        ),
        _function(
            "pendingWithdrawals",
            [_field("channelId", "bytes32")],
            [_field("amount", "uint128"), _field("initiatedAt", "uint40")],
        ),
        _function("refundNonce", [_field("channelId", "bytes32")], [_field("nonce", "uint256")]),
        _function("claim", [_field("voucherClaims", "tuple[]", components=_CLAIM)], []),
        _function("settle", [_field("receiver", "address"), _field("token", "address")], []),
        _function("multicall", [_field("data", "bytes[]")], [_field("results", "bytes[]")]),
    ],
    b"",
)
"""The functions that a receiver needs. Source: x402BatchSettlement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class X402State:
    """A channel on the chain."""

    balance_wei: Wei = ZERO_WEI  # deposited, less what was withdrawn and refunded; what is claimed is still in it
    claimed_wei: Wei = ZERO_WEI
    withdraw_wei: Wei = ZERO_WEI  # that the payer has asked back
    withdraw_since_s: int = 0  # 0: no withdrawal is pending
    refund_nonce: int = 0

    @property
    def free_wei(self) -> Wei:
        """The highest cumulative amount that a voucher may reach: what the payer takes back does not count."""
        return Wei(max(0, self.balance_wei - self.withdraw_wei))


@dataclass(frozen=True, slots=True, kw_only=True)
class X402Claim:
    """One channel's claim: its newest voucher, and the cumulative amount to claim under it."""

    channel: X402Channel
    max_claimable_wei: Wei
    signature: bytes
    total_claimed_wei: Wei


class X402Contract:
    """The contract of one chain. Every call blocks."""

    def __init__(self, client: ChainClient) -> None:
        self._client = client

    def close(self) -> None:
        """Close the connections to the chain."""
        self._client.close()

    def state(self, channel_id: ChannelId) -> X402State:
        """A channel's state at the latest block; all zero for one that nobody has opened.

        Raises:
            ChainError: the endpoint does not answer, or the contract is another one.
        """
        balance = self._view("channels", channel_id)
        withdrawal = self._view("pendingWithdrawals", channel_id)
        return X402State(
            balance_wei=Wei(balance["balance"]),
            claimed_wei=Wei(balance["totalClaimed"]),
            withdraw_wei=Wei(withdrawal["amount"]),
            withdraw_since_s=withdrawal["initiatedAt"],
            refund_nonce=self._view("refundNonce", channel_id),
        )

    def fees(self) -> Fees:
        """Current gas prices.

        Raises:
            ChainError: the endpoint does not answer.
        """
        return self._client.fees()

    def missing(self) -> list[str]:
        """The contracts of the scheme that are not on this chain.

        Raises:
            ChainError: the endpoint does not answer.
        """
        return [name for name, address in NEEDED.items() if not self._client.code(address)]

    def _view(self, function: str, *arguments: object) -> Any:
        call = ContractCall(to=CONTRACT, data=INTERFACE.encode(function, *arguments))
        try:
            return INTERFACE.decode_result(function, self._client.call(call))
        except (RevertedError, MalformedError) as error:
            raise ChainError(f"x402's contract does not answer {function} ({error.message})") from error


def claim_call(claims: Sequence[X402Claim], receiver: Address, token: Address) -> ContractCall:
    """The call that claims from channels and moves everything claimed to the receiver, in one transaction.

    The sender must be the channels' receiver or receiver authorizer.
    """
    rows = [((each.channel, each.max_claimable_wei), each.signature, each.total_claimed_wei) for each in claims]
    parts = [INTERFACE.encode("claim", rows), INTERFACE.encode("settle", receiver, token)]
    return ContractCall(to=CONTRACT, data=INTERFACE.encode("multicall", parts))


def x402_terms(
    client: ChainClient, network: Network, gateway: GatewayConfig, *, wallet: Address, signer: Address
) -> X402Terms:
    """The terms that a node can offer on a network: its wallet receives, and its signer claims.

    Raises:
        ChainError: the endpoint does not answer, or x402's contracts are not on this chain.
        ConfigError: the token can't be read.
    """
    if missing := X402Contract(client).missing():
        raise ChainError(f"x402 has no {' and no '.join(missing)} on the chain {network.chain_id}")
    asset = network.contracts["OpenToken"]
    domain = permit_domain(client, asset, network.chain_id)
    return X402Terms(
        chain_id=network.chain_id,
        asset=asset,
        pay_to=wallet,
        receiver_authorizer=signer,
        withdraw_delay_s=gateway.x402_withdraw_delay_s,
        token_name=domain.name if domain else read_token(client, asset).name,
        token_version=domain.version if domain else "1",
        has_gas_sponsoring=domain is not None,
    )
