"""x402's payments by batch settlement on EVM chains: channels, vouchers, and the texts of the HTTP headers.

Source: x402 specification version 2, its scheme `batch-settlement` on EVM, and the contract `x402BatchSettlement`.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from .eip712 import Domain, address_word, digest_word, hex_digest, struct_hash, type_hash, typed_digest, uint_word
from .errors import MalformedError
from .primitives import Address, ChannelId, Digest, Salt, Wei, check_address, check_digest, wei_from_text
from .signatures import check_signature_form

VERSION: Final = 2
SCHEME: Final = "batch-settlement"

CONTRACT: Final = Address("0x4020074e9dF2ce1deE5A9C1b5c3f541D02a10003")
PERMIT2_COLLECTOR: Final = Address("0x4020425FAf3B746C082C2f942b4E5159887B0005")
PERMIT2: Final = Address("0x000000000022D473030F116dDEE9F6B43aC78BA3")
"""The contracts have these addresses on every chain, and clients sign for no others."""

WITHDRAW_DELAY_MIN_S: Final = 900
WITHDRAW_DELAY_MAX_S: Final = 30 * 86_400

HEADER_LENGTH_MAX: Final = 16_384
"""A deposit with all its signatures has about 4,000 characters."""

PREFIX: Final = "invalid_batch_settlement_evm_"
"""The beginning of the scheme's error codes."""

_CHANNEL_TYPE = type_hash(
    "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,"
    "address token,uint40 withdrawDelay,bytes32 salt)"
)
_VOUCHER_TYPE = type_hash("Voucher(bytes32 channelId,uint128 maxClaimableAmount)")

PayloadKind = Literal["deposit", "voucher", "refund"]


@dataclass(frozen=True, slots=True, kw_only=True)
class X402Channel:
    """The immutable parameters of a channel, in the contract's order."""

    payer: Address
    payer_authorizer: Address  # signs the vouchers
    receiver: Address
    receiver_authorizer: Address
    token: Address
    withdraw_delay_s: int
    salt: Salt

    def to_plain(self) -> dict[str, Any]:
        """The specification's JSON form."""
        return {
            "payer": self.payer,
            "payerAuthorizer": self.payer_authorizer,
            "receiver": self.receiver,
            "receiverAuthorizer": self.receiver_authorizer,
            "token": self.token,
            "withdrawDelay": self.withdraw_delay_s,
            "salt": self.salt,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class X402Voucher:
    """A payer's signed promise: the receiver may claim up to this cumulative amount of the channel."""

    channel_id: ChannelId
    max_claimable_wei: Wei
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class X402Payment:
    """One request's payment, as its header carries it."""

    kind: PayloadKind
    channel: X402Channel
    voucher: X402Voucher
    scheme: str
    network: str  # CAIP-2, such as eip155:8453
    plain: Mapping[str, Any]  # the whole payload, as a facilitator takes it


@dataclass(frozen=True, slots=True, kw_only=True)
class X402Terms:
    """The part of a server's terms that is the same for every request."""

    chain_id: int
    asset: Address
    pay_to: Address
    receiver_authorizer: Address
    withdraw_delay_s: int
    token_name: str  # of the token's EIP-712 domain
    token_version: str
    has_gas_sponsoring: bool = False  # the facilitator submits a payer's EIP-2612 permit for Permit2
    timeout_s: int = 300

    @property
    def network(self) -> str:
        """The chain's CAIP-2 name."""
        return f"eip155:{self.chain_id}"

    @property
    def domain(self) -> Domain:
        """The EIP-712 domain of the contract on this chain."""
        return x402_domain(self.chain_id)


def x402_domain(chain_id: int) -> Domain:
    """The EIP-712 domain of x402BatchSettlement."""
    return Domain(name="x402 Batch Settlement", chain_id=chain_id, verifying_contract=CONTRACT, version="1")


def x402_channel_id(domain: Domain, channel: X402Channel) -> ChannelId:
    """The id of a channel, which binds it to the chain and the contract."""
    struct = struct_hash(
        _CHANNEL_TYPE,
        address_word(channel.payer),
        address_word(channel.payer_authorizer),
        address_word(channel.receiver),
        address_word(channel.receiver_authorizer),
        address_word(channel.token),
        uint_word(channel.withdraw_delay_s, 40),
        digest_word(channel.salt),
    )
    return ChannelId(hex_digest(typed_digest(domain, struct)))


def x402_voucher_digest(domain: Domain, channel_id: ChannelId, max_claimable_wei: Wei) -> bytes:
    """The 32 bytes that a payer signs."""
    struct = struct_hash(_VOUCHER_TYPE, digest_word(channel_id), uint_word(max_claimable_wei, 128))
    return typed_digest(domain, struct)


# ---- Headers: base64 of JSON


def header_from_plain(content: Mapping[str, Any]) -> str:
    """Write an object as the specification's headers carry it."""
    return base64.b64encode(json.dumps(content, separators=(",", ":")).encode()).decode()


def x402_payment_from_header(text: str) -> X402Payment:
    """Read the header PAYMENT-SIGNATURE.

    Raises:
        MalformedError: it is too long, not base64 of JSON, or a field is missing or of the wrong form.
    """
    if len(text) > HEADER_LENGTH_MAX:
        raise MalformedError(
            f"PAYMENT-SIGNATURE has {len(text)} characters, and at most {HEADER_LENGTH_MAX} are read"
        )
    try:
        plain = json.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise MalformedError("PAYMENT-SIGNATURE is not base64 of JSON: send the payload of x402 version 2") from error
    if not isinstance(plain, dict) or plain.get("x402Version") != VERSION:
        raise MalformedError("PAYMENT-SIGNATURE is not a payload of x402 version 2: update the client")
    accepted, payload = _object(plain, "accepted"), _object(plain, "payload")
    kind = payload.get("type")
    if kind not in ("deposit", "voucher", "refund"):
        raise MalformedError(f"the payment's payload has the type {str(kind)[:40]!r}: send a deposit or a voucher")
    if kind == "deposit":
        wei_from_text(_object(payload, "deposit").get("amount"), name="the deposit's amount")
    return X402Payment(
        kind=kind,
        channel=x402_channel_from_plain(_object(payload, "channelConfig")),
        voucher=_voucher(_object(payload, "voucher")),
        scheme=str(accepted.get("scheme")),
        network=str(accepted.get("network")),
        plain=plain,
    )


def x402_channel_from_plain(plain: Mapping[str, Any]) -> X402Channel:
    """Read a channel's JSON form.

    Raises:
        MalformedError: a field is missing or of the wrong form.
    """
    delay = plain.get("withdrawDelay")
    if type(delay) is not int or not 0 <= delay < 1 << 40:
        raise MalformedError(f"withdrawDelay is a whole number of seconds, not {str(delay)[:40]!r}")
    names = ("payer", "payerAuthorizer", "receiver", "receiverAuthorizer", "token")
    payer, payer_authorizer, receiver, receiver_authorizer, token = (
        check_address(_text(plain, name)) for name in names
    )
    return X402Channel(
        payer=payer,
        payer_authorizer=payer_authorizer,
        receiver=receiver,
        receiver_authorizer=receiver_authorizer,
        token=token,
        withdraw_delay_s=delay,
        salt=Salt(_digest(plain, "salt")),
    )


def _voucher(plain: Mapping[str, Any]) -> X402Voucher:
    try:
        signature = bytes.fromhex(_text(plain, "signature").removeprefix("0x"))
    except ValueError as error:
        raise MalformedError("the voucher's signature is not hex") from error
    return X402Voucher(
        channel_id=ChannelId(_digest(plain, "channelId")),
        max_claimable_wei=wei_from_text(plain.get("maxClaimableAmount"), name="maxClaimableAmount"),
        signature=check_signature_form(signature),
    )


def _object(plain: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = plain.get(name)
    if not isinstance(found, dict):
        raise MalformedError(f"the payment has no object {name!r}: send the payload of x402 version 2")
    return found


def _text(plain: Mapping[str, Any], name: str) -> str:
    found = plain.get(name)
    if not isinstance(found, str):
        raise MalformedError(f"the payment's {name} is not a text")
    return found


def _digest(plain: Mapping[str, Any], name: str) -> Digest:
    return check_digest(_text(plain, name).lower())


# ---- Terms


def requirements_to_plain(terms: X402Terms, amount_wei: Wei, **corrective: Any) -> dict[str, Any]:
    """The payment requirements of one request; `corrective` are the fields by which a client finds back.

    OPEN has no EIP-3009, so a deposit goes through Permit2, which the scheme has for any ERC-20.
    """
    return {
        "scheme": SCHEME,
        "network": terms.network,
        "amount": str(amount_wei),
        "asset": terms.asset,
        "payTo": terms.pay_to,
        "maxTimeoutSeconds": terms.timeout_s,
        "extra": {
            "receiverAuthorizer": terms.receiver_authorizer,
            "withdrawDelay": terms.withdraw_delay_s,
            "assetTransferMethod": "permit2",
            "name": terms.token_name,
            "version": terms.token_version,
            **corrective,
        },
    }


def payment_required_to_plain(
    requirements: Mapping[str, Any], *, url: str, error: str, has_gas_sponsoring: bool
) -> dict[str, Any]:
    """The content of the header PAYMENT-REQUIRED."""
    return {
        "x402Version": VERSION,
        "error": error,
        "resource": {"url": url, "description": "Answers of language models", "mimeType": "application/json"},
        "accepts": [requirements],
        "extensions": {"eip2612GasSponsoring": GAS_SPONSORING} if has_gas_sponsoring else {},
    }


_PERMIT_FIELDS: Final = {
    "from": "^0x[a-fA-F0-9]{40}$",
    "asset": "^0x[a-fA-F0-9]{40}$",
    "spender": "^0x[a-fA-F0-9]{40}$",
    "amount": "^[0-9]+$",
    "nonce": "^[0-9]+$",
    "deadline": "^[0-9]+$",
    "signature": "^0x[a-fA-F0-9]+$",
    "version": r"^[0-9]+(\.[0-9]+)*$",
}

GAS_SPONSORING: Final[Mapping[str, Any]] = {
    "info": {"description": "The facilitator submits an EIP-2612 permit for Permit2.", "version": "1"},
    "schema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {name: {"type": "string", "pattern": pattern} for name, pattern in _PERMIT_FIELDS.items()},
        "required": list(_PERMIT_FIELDS),
    },
}
"""The extension by which a payer without gas approves Permit2. Source: x402's extension eip2612GasSponsoring."""
