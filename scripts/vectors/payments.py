"""Channels, vouchers, receipts: digests, signatures, prices and refusals."""

from typing import Any

from openledger_protocol.attribution import Share, shares_hash
from openledger_protocol.eip712 import Domain
from openledger_protocol.generation import channel_salt
from openledger_protocol.payments import (
    ChannelConfig,
    ChannelState,
    Permit,
    Receipt,
    Refund,
    SignedVoucher,
    Terms,
    Voucher,
    channel_id,
    check_voucher,
    is_sampled,
    nonce_commit,
    permit_digest,
    price_wei,
    receipt_digest,
    refund_digest,
    voucher_digest,
)
from openledger_protocol.receipts import Delivery, check_receipt
from openledger_protocol.signatures import address_of, recover_address, sign_digest

from .common import (
    AUTHORIZER,
    AUTHORIZER_KEY,
    CONTRACT,
    NODE,
    PAYER,
    PAYER_KEY,
    PLACE,
    SIGNER,
    SIGNER_KEY,
    UINT128_MAX_TEXT,
    Case,
    Rules,
    account,
    bytes_of,
    digest,
    hex_of,
    payments,
    read,
)

CONFIG = {
    **PLACE,
    "payer": PAYER,
    "authorizer": AUTHORIZER,
    "node": NODE,
    "withdraw_delay_s": 40,
    "salt": digest("5"),
}
CHANNEL = channel_id(read(ChannelConfig, CONFIG), payments(PLACE))

CHANNEL_IDS: list[Case] = [
    ("plain", "the id is the EIP-712 digest of the config", CONFIG),
    ("another chain", "a channel belongs to one chain", {**CONFIG, "chain_id": 1}),
    ("another contract", "and to one contract", {**CONFIG, "contract": account(1)}),
    ("another salt", "two channels of the same parties differ by it", {**CONFIG, "salt": digest("6")}),
    ("the longest delay", "64 bits", {**CONFIG, "withdraw_delay_s": str(2**64 - 1)}),
]

SALT = {"network": "development-1a2b3c4d", "generation": digest("9"), "drawn": "0x" + "5" * 32}
SALTS: list[Case] = [
    ("plain", "16 bytes that name network and generation, then those that the payer drew", SALT),
    (
        "another generation",
        "after a restore: old channels are told apart",
        {**SALT, "generation": digest("a")},
    ),
    (
        "another network",
        "development chains share their chain id",
        {**SALT, "network": "development-00000000"},
    ),
    ("another draw", "the first half stays", {**SALT, "drawn": "0x" + "6" * 32}),
]

VOUCHER = {**PLACE, "channel_id": CHANNEL, "max_claimable_wei": "80"}
VOUCHERS: list[Case] = [
    ("plain", "a ceiling of 80 wei", VOUCHER),
    ("nothing", "zero is an amount", {**VOUCHER, "max_claimable_wei": "0"}),
    ("the most", "128 bits", {**VOUCHER, "max_claimable_wei": UINT128_MAX_TEXT}),
    ("over the most", "no contract could read it", {**VOUCHER, "max_claimable_wei": str(2**128)}),
]

WORK = {
    "request_id": digest("1"),
    "profile_hash": digest("2"),
    "index_root": digest("3"),
    "tokens_in": 100,
    "tokens_out": 50,
    "prompt_commit": digest("4"),
    "output_commit": digest("6"),
    "retrieval_hash": digest("0"),
    "fingerprint": digest("7"),
}
SHARE = {"datanet_id": digest("d"), "account": account(1), "ppm": 1_000_000}
RECEIPT = {
    **PLACE,
    "channel_id": CHANNEL,
    "seq": "1700000000000000001",
    "adapter_id": digest("a"),
    "amount_wei": "200",
    "cumulative_wei": "500",
    "algo_id": 1,
    "flags": 1,
    "nonce_commit": digest("c"),
    "shares_hash": shares_hash([read(Share, SHARE)]),
    **WORK,
}
RECEIPTS: list[Case] = [
    ("plain", "the fields of `work` stand beside the receipt's own here; in the digest they are a struct", RECEIPT),
    (
        "base only",
        "adapter and shares of nothing",
        {**RECEIPT, "adapter_id": digest("0"), "shares_hash": shares_hash([])},
    ),
    ("not auditable", "a flag is part of what is signed", {**RECEIPT, "flags": 0}),
    (
        "the most",
        "each number at its bound",
        {
            **RECEIPT,
            "seq": str(2**64 - 1),
            "amount_wei": UINT128_MAX_TEXT,
            "cumulative_wei": UINT128_MAX_TEXT,
            **dict.fromkeys(("algo_id", "flags", "tokens_in", "tokens_out"), 2**32 - 1),
        },
    ),
]

REFUNDS: list[Case] = [
    ("plain", "a part of the deposit", {**PLACE, "channel_id": CHANNEL, "amount_wei": "9", "nonce": 0})
]
PERMITS: list[Case] = [
    (
        "plain",
        "ERC-2612, under the token's own domain",
        {
            **PLACE,
            "token_name": "OpenLedger",
            "owner": PAYER,
            "spender": CONTRACT,
            "value_wei": str(10**18),
            "nonce": 0,
            "deadline_s": 1_700_000_000,
        },
    )
]

SIGNED: list[Case] = [
    ("voucher", "RFC 6979: the same bytes each time", {"private_key": hex_of(AUTHORIZER_KEY), "digest": digest("1")}),
    ("another key", "v is 27 or 28", {"private_key": hex_of(SIGNER_KEY), "digest": digest("1")}),
    ("zero digest", "as any other", {"private_key": hex_of(SIGNER_KEY), "digest": digest("0")}),
    ("short key", "never filled up with zeros", {"private_key": "0x01", "digest": digest("1")}),
]
GOOD = sign_digest(SIGNER_KEY, bytes_of(digest("1")))
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
TWIN = GOOD[:32] + (ORDER - int.from_bytes(GOOD[32:64], "big")).to_bytes(32, "big") + bytes([55 - GOOD[64]])
RECOVERED: list[Case] = [
    ("plain", "the signer", {"digest": digest("1"), "signature": hex_of(GOOD)}),
    ("another digest", "some other account, not an error", {"digest": digest("2"), "signature": hex_of(GOOD)}),
    (
        "the higher s",
        "recovers the same key, and would be a second form",
        {"digest": digest("1"), "signature": hex_of(TWIN)},
    ),
    ("v of 0", "27 or 28 only", {"digest": digest("1"), "signature": hex_of(GOOD[:64] + b"\0")}),
    ("64 bytes", "no compact form", {"digest": digest("1"), "signature": hex_of(GOOD[:64])}),
    ("r of 0", "no key makes it", {"digest": digest("1"), "signature": hex_of(bytes(32) + GOOD[32:])}),
]

TERMS = {"price_in_wei": "1000", "price_out_wei": "2000"}
PRICES: list[Case] = [
    ("plain", "per 1,000 tokens", {**TERMS, "tokens_in": 100, "tokens_out": 50}),
    ("nothing", "no tokens", {**TERMS, "tokens_in": 0, "tokens_out": 0}),
    (
        "rounded once",
        "0.999 + 0.001 = 1",
        {"price_in_wei": "999", "price_out_wei": "1", "tokens_in": 1, "tokens_out": 1},
    ),
    ("rounded down", "1.998", {"price_in_wei": "999", "price_out_wei": "999", "tokens_in": 1, "tokens_out": 1}),
    (
        "a whole OPEN",
        "no overflow",
        {"price_in_wei": str(10**18), "price_out_wei": "0", "tokens_in": 2**32 - 1, "tokens_out": 0},
    ),
]


def signature_of(key: bytes, **changes: str) -> str:
    return hex_of(sign_digest(key, voucher_digest(read(Voucher, {**VOUCHER, **changes}), payments(PLACE))))


CHECKED = {
    **VOUCHER,
    "signature": signature_of(AUTHORIZER_KEY),
    "authorizer": AUTHORIZER,
    "of_channel": CHANNEL,
    "ceiling_wei": "50",
    "limit_wei": "100",
    "is_withdrawing": False,
}
VOUCHERS_CHECKED: list[Case] = [
    ("higher", "the new ceiling", CHECKED),
    ("lower", "a late one changes nothing", {**CHECKED, "ceiling_wei": "90"}),
    ("at the limit", "all that the channel is good for", {**CHECKED, "limit_wei": "80"}),
    ("over the limit", "top up first", {**CHECKED, "limit_wei": "79"}),
    ("while the payer withdraws", "no higher one is taken", {**CHECKED, "is_withdrawing": True}),
    ("lower while the payer withdraws", "changes nothing", {**CHECKED, "is_withdrawing": True, "ceiling_wei": "90"}),
    ("another channel", "its money is elsewhere", {**CHECKED, "of_channel": digest("9")}),
    (
        "another signer",
        "the payer's own key is not the authorizer's",
        {**CHECKED, "signature": signature_of(PAYER_KEY)},
    ),
]

DELIVERY = {
    **TERMS,
    "signer": SIGNER,
    "seq_last": "1700000000000000000",
    "charged_wei": "300",
    "ceiling_wei": "500",
    "agreed_adapter_id": digest("a"),
}
RECEIVED = {**RECEIPT, **DELIVERY}
RECEIPTS_CHECKED: list[Case] = [
    ("plain", "the digest to countersign", RECEIVED),
    ("another adapter", "not what was asked for", {**RECEIVED, "agreed_adapter_id": digest("b")}),
    ("too dear", "not the price of its tokens", {**RECEIVED, "amount_wei": "201", "cumulative_wei": "501"}),
    ("a gap", "a charge that no receipt names", {**RECEIVED, "cumulative_wei": "501"}),
    ("over the voucher", "more than was allowed", {**RECEIVED, "ceiling_wei": "499"}),
    ("an old one", "seq only grows", {**RECEIVED, "seq_last": RECEIPT["seq"]}),
    ("another signer", "not the key that was announced", {**RECEIVED, "signer": PAYER}),
    ("shares of a text that nobody may read", "the treasury is paid, nobody else", {**RECEIVED, "flags": 0}),
]

NONCES: list[Case] = [
    ("zero", "keccak of 32 zero bytes", {"nonce": digest("0")}),
    ("plain", "keccak of the nonce's bytes", {"nonce": digest("1")}),
]
SAMPLED: list[Case] = [
    (
        f"nonce {number}",
        "one in eight is",
        {"nonce": hex_of(number.to_bytes(32, "big")), "receipt_digest": digest("1")},
    )
    for number in range(12)
]


def checked_voucher(given: Any) -> str:
    signed = read(SignedVoucher, given)
    channel = read(ChannelState, given, channel_id=given["of_channel"])
    return str(check_voucher(channel, signed, payments(given)))


def checked_receipt(given: Any) -> str:
    receipt, shares = read(Receipt, given), [read(Share, SHARE)]
    delivery = read(Delivery, given, adapter_id=given["agreed_adapter_id"], datanet_ids=(SHARE["datanet_id"],))
    signature = sign_digest(SIGNER_KEY, receipt_digest(receipt, payments(given)))
    return hex_of(check_receipt(receipt, signature, shares, delivery, payments(given)))


def token_domain(given: Any) -> Domain:
    return Domain(name=given["token_name"], chain_id=given["chain_id"], verifying_contract=given["contract"])


RULES: Rules = {
    "channel_salt": (
        lambda given: channel_salt(given["network"], given["generation"], bytes_of(given["drawn"])),
        SALTS,
    ),
    "channel_id": (lambda given: channel_id(read(ChannelConfig, given), payments(given)), CHANNEL_IDS),
    "voucher_digest": (lambda given: hex_of(voucher_digest(read(Voucher, given), payments(given))), VOUCHERS),
    "receipt_digest": (lambda given: hex_of(receipt_digest(read(Receipt, given), payments(given))), RECEIPTS),
    "refund_digest": (lambda given: hex_of(refund_digest(read(Refund, given), payments(given))), REFUNDS),
    "permit_digest": (lambda given: hex_of(permit_digest(read(Permit, given), token_domain(given))), PERMITS),
    "address_of": (lambda given: address_of(bytes_of(given["private_key"])), SIGNED),
    "sign_digest": (
        lambda given: hex_of(sign_digest(bytes_of(given["private_key"]), bytes_of(given["digest"]))),
        SIGNED,
    ),
    "recover_address": (
        lambda given: recover_address(bytes_of(given["digest"]), bytes_of(given["signature"])),
        RECOVERED,
    ),
    "price_wei": (lambda given: str(price_wei(given["tokens_in"], given["tokens_out"], read(Terms, given))), PRICES),
    "check_voucher": (checked_voucher, VOUCHERS_CHECKED),
    "check_receipt": (checked_receipt, RECEIPTS_CHECKED),
    "nonce_commit": (lambda given: nonce_commit(given["nonce"]), NONCES),
    "is_sampled": (lambda given: is_sampled(given["nonce"], bytes_of(given["receipt_digest"])), SAMPLED),
}
