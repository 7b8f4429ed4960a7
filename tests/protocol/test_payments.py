"""Channels, lanes and vouchers: digests are a wallet's own, and each rule of a voucher has its refusal."""

import re
from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import _hash_eip191_message, encode_typed_data
from hypothesis import given
from hypothesis import strategies as st
from support.signed import (
    AUTHORIZER,
    AUTHORIZER_KEY,
    CHANNEL,
    PAYER_KEY,
    PAYMENTS,
    addresses,
    digest,
    digests,
    receipts,
    uints,
    weis,
)

from openledger_protocol.eip712 import Domain
from openledger_protocol.errors import (
    BadSignatureError,
    MalformedError,
    PaymentRequiredError,
    ProtocolError,
    VoucherRefusedError,
)
from openledger_protocol.payments import (
    LaneState,
    Permit,
    Refund,
    SignedVoucher,
    Terms,
    Voucher,
    check_covered,
    check_voucher,
    permit_digest,
    price_wei,
    receipt_digest,
    refund_digest,
    voucher_digest,
)
from openledger_protocol.primitives import BASE_ONLY, AdapterId, ChannelId, Wei
from openledger_protocol.settlement import EpochClaim, claim_digest
from openledger_protocol.signatures import sign_digest

ADAPTER, OTHER = AdapterId(digest("a")), AdapterId(digest("b"))
STATE = LaneState(
    channel_id=CHANNEL, adapter_id=ADAPTER, authorizer=AUTHORIZER, ceiling_wei=Wei(50), limit_wei=Wei(100)
)


def signed(
    max_claimable_wei: int,
    *,
    key: bytes = AUTHORIZER_KEY,
    channel: ChannelId = CHANNEL,
    adapter: AdapterId = ADAPTER,
) -> SignedVoucher:
    voucher = Voucher(channel_id=channel, adapter_id=adapter, max_claimable_wei=Wei(max_claimable_wei))
    return SignedVoucher(voucher=voucher, signature=sign_digest(key, voucher_digest(voucher, PAYMENTS)))


# ---- the digests are those of a wallet

TYPES = {
    "Voucher": "bytes32 channelId,bytes32 adapterId,uint128 maxClaimable",
    "Receipt": "bytes32 channelId,uint64 seq,uint64 issuedAt,bytes32 adapterId,uint128 amount,uint128 cumulative,"
    "uint32 algoId,bytes32 sharesHash,Work work",
    "Work": "bytes32 requestId,bytes32 profileHash,bytes32 indexRoot,uint32 tokensIn,uint32 tokensOut,"
    "bytes32 promptCommit,bytes32 outputCommit,bytes32 retrievalHash,bytes32 signalsHash,bytes32 fingerprint",
    "EpochClaim": "address node,uint64 seq,uint64 epoch,bytes32 itemsHash",
    "Refund": "bytes32 channelId,uint128 amount,uint256 nonce",
    "Permit": "address owner,address spender,uint256 value,uint256 nonce,uint256 deadline",
    "EIP712Domain": "string name,string version,uint256 chainId,address verifyingContract",
}
"""The types as the design writes them."""

domains = st.builds(
    Domain, name=st.sampled_from(["OpenLedgerPayments", "é"]), chain_id=uints(256), verifying_contract=addresses
)
vouchers = st.builds(Voucher, channel_id=digests, adapter_id=digests, max_claimable_wei=weis)
refunds = st.builds(Refund, channel_id=digests, amount_wei=weis, nonce=uints(256))
permits = st.builds(
    Permit, owner=addresses, spender=addresses, value_wei=uints(256), nonce=uints(256), deadline_s=uints(256)
)
claims = st.builds(EpochClaim, node=addresses, seq=uints(64), epoch=uints(64), items_hash=digests)


def fields_of(kind: str) -> list[dict[str, str]]:
    """The fields of a type, as a wallet is told them."""
    return [dict(zip(("type", "name"), field.split(), strict=True)) for field in TYPES[kind].split(",")]


def message_of(value: Any) -> dict[str, Any]:
    """A value by the names of its type; ours have the same in snake case, some with their unit."""
    message = {}
    for field in fields_of(type(value).__name__):
        ours = re.sub("([A-Z])", r"_\1", field["name"]).lower()
        found = next(getattr(value, ours + unit) for unit in ("", "_wei", "_s") if hasattr(value, ours + unit))
        message[field["name"]] = message_of(found) if field["type"] in TYPES else found
    return message


def typed_data(value: Any, domain: Domain) -> dict[str, Any]:
    """Describe a value as a wallet is given it, JSON by JSON."""
    kind = type(value).__name__
    used = ["EIP712Domain", kind, *(["Work"] if kind == "Receipt" else [])]
    return {
        "types": {each: fields_of(each) for each in used},
        "primaryType": kind,
        "domain": {
            "name": domain.name,
            "version": domain.version,
            "chainId": domain.chain_id,
            "verifyingContract": domain.verifying_contract,
        },
        "message": message_of(value),
    }


CASES: list[tuple[st.SearchStrategy[Any], Any]] = [
    (vouchers, voucher_digest),
    (receipts, receipt_digest),
    (refunds, refund_digest),
    (permits, permit_digest),
    (claims, claim_digest),
]


@pytest.mark.parametrize(("values", "digest_of"), CASES, ids=[digest_of.__name__ for _, digest_of in CASES])
@given(data=st.data(), domain=domains)
def test_a_digest_is_the_one_that_a_wallet_signs(
    values: st.SearchStrategy[Any], digest_of: Any, data: st.DataObject, domain: Domain
) -> None:
    value = data.draw(values)
    message = encode_typed_data(full_message=typed_data(value, domain))
    assert digest_of(value, domain) == _hash_eip191_message(message)
    assert sign_digest(PAYER_KEY, digest_of(value, domain)) == Account.sign_message(message, PAYER_KEY).signature


def test_an_old_voucher_is_no_error_while_the_payer_withdraws_or_the_deposit_sank() -> None:
    assert check_voucher(replace(STATE, is_withdrawing=True), signed(50), PAYMENTS) == 50
    assert check_voucher(replace(STATE, limit_wei=Wei(10)), signed(50), PAYMENTS) == 50


REFUSALS: list[tuple[str, LaneState, SignedVoucher, type[ProtocolError], str]] = [
    ("channel", STATE, signed(80, channel=ChannelId(digest("9"))), VoucherRefusedError, f"on channel {CHANNEL}$"),
    ("adapter", STATE, signed(80, adapter=OTHER), VoucherRefusedError, f"not for adapter {ADAPTER}"),
    ("base", STATE, signed(80, adapter=BASE_ONLY), VoucherRefusedError, f"not for adapter {ADAPTER}"),
    ("withdrawal", replace(STATE, is_withdrawing=True), signed(80), VoucherRefusedError, "takes no more vouchers"),
    ("limit", STATE, signed(101), VoucherRefusedError, "allows 101 wei but the channel is good for 100"),
    ("signer", STATE, signed(80, key=PAYER_KEY), BadSignatureError, f"not by {AUTHORIZER}"),
    ("low, forged", STATE, signed(10, key=PAYER_KEY), BadSignatureError, f"not by {AUTHORIZER}"),
    ("form", STATE, replace(signed(80), signature=b""), MalformedError, "65 bytes"),
]


@pytest.mark.parametrize(
    ("state", "voucher", "refusal", "message"), [c[1:] for c in REFUSALS], ids=[c[0] for c in REFUSALS]
)
def test_a_voucher_is_refused_with_its_reason(
    state: LaneState, voucher: SignedVoucher, refusal: type[ProtocolError], message: str
) -> None:
    with pytest.raises(refusal, match=message):
        check_voucher(state, voucher, PAYMENTS)


@given(st.lists(st.integers(min_value=0, max_value=100), min_size=1, max_size=5))
def test_the_ceiling_only_grows_in_whatever_order_vouchers_come(amounts: list[int]) -> None:
    state, ceilings = replace(STATE, ceiling_wei=Wei(0)), [0]
    for amount in amounts:
        ceilings.append(check_voucher(state, signed(amount), PAYMENTS))
        state = replace(state, ceiling_wei=Wei(ceilings[-1]))
    assert ceilings == sorted(ceilings)
    assert ceilings[-1] == max(amounts)


def test_a_step_that_no_voucher_covers_asks_for_a_higher_one() -> None:
    check_covered(Wei(9), Wei(9))
    with pytest.raises(
        PaymentRequiredError, match="needs a voucher for 10 wei in all, and the last one allows 9"
    ) as refusal:
        check_covered(Wei(9), Wei(10))
    assert refusal.value.retryable


@given(uints(20), uints(20), uints(20), uints(60), uints(60))
def test_an_answer_never_costs_less_as_it_grows(
    tokens_in: int, tokens_out: int, more: int, price_in: int, price_out: int
) -> None:
    terms = Terms(price_in_wei=Wei(price_in), price_out_wei=Wei(price_out))
    assert price_wei(tokens_in, tokens_out, terms) <= price_wei(tokens_in, tokens_out + more, terms)
