"""A withdrawal that its account has signed and that another account sends, for a fee that both know before.

It is two signed withdrawals with consecutive nonces: first the payout, then the fee. The contract counts a nonce only
when it acts on it, so nobody is paid the fee before the payout was made. The fee has one signature for each account
that may send it. They share a nonce, so only one of them can ever be paid.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from .eip712 import Domain, rewards_domain
from .errors import MalformedError
from .primitives import ZERO_ADDRESS, ZERO_WEI, Address, Wei, check_address, wei_from_text
from .settlement import ClaimFor, claim_for_digest
from .signatures import check_signature_form, check_signer

WITHDRAWAL_SCHEMA: Final = "openledger.withdrawal/1"
RELAYS_MAX: Final = 16
_FIELDS: Final = (
    "schema",
    "network",
    "chain_id",
    "contract",
    "account",
    "to",
    "amount_wei",
    "nonce",
    "deadline_s",
    "fee_wei",
    "signature",
    "fees",
)
_UINT64_MAX: Final = 2**64 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedFee:
    """The fee of one account that may send the withdrawal."""

    relay: Address
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayedWithdrawal:
    """A signed withdrawal; without a fee, anybody may send it for nothing."""

    network: str
    domain: Domain
    account: Address
    to: Address
    amount_wei: Wei  # that `to` gets; the fee comes on top
    nonce: int  # of the payout; the fee has the next one
    deadline_s: int
    fee_wei: Wei
    signature: bytes
    fees: tuple[SignedFee, ...]

    @property
    def payout(self) -> ClaimFor:
        """The withdrawal itself."""
        return payout_claim(self.account, self.to, self.amount_wei, self.nonce, self.deadline_s)

    def fee_for(self, relay: Address) -> tuple[ClaimFor, bytes] | None:
        """The fee of one relay with its signature; None if the account named others."""
        found = next((each for each in self.fees if each.relay == relay), None)
        if found is None:
            return None
        return payout_claim(self.account, relay, self.fee_wei, self.nonce + 1, self.deadline_s), found.signature


def payout_claim(account: Address, to: Address, amount_wei: Wei, nonce: int, deadline_s: int) -> ClaimFor:
    """A withdrawal of `account` to `to`."""
    return ClaimFor(account=account, to=to, amount_wei=amount_wei, nonce=nonce, deadline_s=deadline_s)


def sign_withdrawal(
    *,
    network: str,
    domain: Domain,
    account: Address,
    to: Address,
    amount_wei: Wei,
    nonce: int,
    deadline_s: int,
    fee_wei: Wei,
    relays: tuple[Address, ...],
    sign: Callable[[bytes], bytes],
) -> RelayedWithdrawal:
    """Sign the payout, and the fee for each relay.

    Raises:
        MalformedError: the amount is 0, the recipient is account 0, or a fee has no relay or no fee has one.
    """
    _check_terms(to, amount_wei, fee_wei, relays)

    def signed(recipient: Address, amount: Wei, number: int) -> bytes:
        return sign(claim_for_digest(payout_claim(account, recipient, amount, number, deadline_s), domain))

    return RelayedWithdrawal(
        network=network,
        domain=domain,
        account=account,
        to=to,
        amount_wei=amount_wei,
        nonce=nonce,
        deadline_s=deadline_s,
        fee_wei=fee_wei,
        signature=signed(to, amount_wei, nonce),
        fees=tuple(SignedFee(relay=relay, signature=signed(relay, fee_wei, nonce + 1)) for relay in relays),
    )


def check_withdrawal(withdrawal: RelayedWithdrawal) -> None:
    """Check the terms and that the account signed the payout and each fee.

    Raises:
        MalformedError: the terms are ones that nobody can want.
        BadSignatureError: another account signed, or the account signed something else.
    """
    relays = tuple(each.relay for each in withdrawal.fees)
    _check_terms(withdrawal.to, withdrawal.amount_wei, withdrawal.fee_wei, relays)
    check_signer(claim_for_digest(withdrawal.payout, withdrawal.domain), withdrawal.signature, withdrawal.account)
    for relay in relays:
        found = withdrawal.fee_for(relay)
        assert found is not None
        check_signer(claim_for_digest(found[0], withdrawal.domain), found[1], withdrawal.account)


def _check_terms(to: Address, amount_wei: Wei, fee_wei: Wei, relays: tuple[Address, ...]) -> None:
    if to == ZERO_ADDRESS or amount_wei == ZERO_WEI:
        raise MalformedError("a withdrawal pays more than 0 wei to an account")
    if bool(fee_wei) != bool(relays):
        raise MalformedError("a fee names the accounts that may earn it, and without a fee nobody is named")
    if len(set(relays)) != len(relays) or len(relays) > RELAYS_MAX or ZERO_ADDRESS in relays:
        raise MalformedError(f"a fee names 1 to {RELAYS_MAX} different accounts")


# ---- JSON


def withdrawal_to_json(withdrawal: RelayedWithdrawal) -> dict[str, Any]:
    """The object in a withdrawal's file."""
    return {
        "schema": WITHDRAWAL_SCHEMA,
        "network": withdrawal.network,
        "chain_id": withdrawal.domain.chain_id,
        "contract": withdrawal.domain.verifying_contract,
        "account": withdrawal.account,
        "to": withdrawal.to,
        "amount_wei": str(withdrawal.amount_wei),
        "nonce": withdrawal.nonce,
        "deadline_s": withdrawal.deadline_s,
        "fee_wei": str(withdrawal.fee_wei),
        "signature": "0x" + withdrawal.signature.hex(),
        "fees": [{"relay": each.relay, "signature": "0x" + each.signature.hex()} for each in withdrawal.fees],
    }


def withdrawal_from_json(content: Any) -> RelayedWithdrawal:
    """Read the object in a withdrawal's file; `check_withdrawal` checks its signatures.

    Raises:
        MalformedError: a field is missing, unknown or invalid.
    """
    if not isinstance(content, dict) or content.get("schema") != WITHDRAWAL_SCHEMA:
        raise MalformedError(f"not a signed withdrawal: its schema is not {WITHDRAWAL_SCHEMA}")
    if set(content) != set(_FIELDS):
        odd = sorted(set(map(str, content)) ^ set(_FIELDS))[0]
        raise MalformedError(f"a signed withdrawal has the fields {', '.join(_FIELDS)}: {odd[:40]!r} is the odd one")
    fees = content["fees"]
    if not isinstance(fees, list) or len(fees) > RELAYS_MAX:
        raise MalformedError(f"the fees of a signed withdrawal are a list of at most {RELAYS_MAX}")
    return RelayedWithdrawal(
        network=_text(content["network"]),
        domain=rewards_domain(_count(content["chain_id"]), check_address(_text(content["contract"]))),
        account=check_address(_text(content["account"])),
        to=check_address(_text(content["to"])),
        amount_wei=wei_from_text(content["amount_wei"]),
        nonce=_count(content["nonce"]),
        deadline_s=_count(content["deadline_s"]),
        fee_wei=wei_from_text(content["fee_wei"], name="a fee"),
        signature=_signature(content["signature"]),
        fees=tuple(_fee(each) for each in fees),
    )


def _fee(content: Any) -> SignedFee:
    if not isinstance(content, dict) or set(content) != {"relay", "signature"}:
        raise MalformedError("a fee of a signed withdrawal has the fields relay and signature")
    return SignedFee(relay=check_address(_text(content["relay"])), signature=_signature(content["signature"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise MalformedError(f"a signed withdrawal has a text where {repr(value)[:40]} is")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _UINT64_MAX:
        raise MalformedError(f"a signed withdrawal has a number of 64 bits where {repr(value)[:40]} is")
    return value


def _signature(value: Any) -> bytes:
    try:
        return check_signature_form(bytes.fromhex(_text(value).removeprefix("0x")))
    except ValueError as error:
        raise MalformedError(f"not a signature: {repr(value)[:40]}") from error
