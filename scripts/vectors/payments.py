"""Channels, lanes, vouchers, receipts: digests, signatures, prices and refusals."""

from typing import Any

from openledger_protocol.attribution import Share, shares_hash
from openledger_protocol.eip712 import Domain, staking_domain, token_domain
from openledger_protocol.generation import channel_salt
from openledger_protocol.payments import (
    ChannelConfig,
    LaneState,
    Permit,
    Receipt,
    Refund,
    SignedVoucher,
    Terms,
    Voucher,
    Work,
    ask_digest,
    channel_id,
    check_voucher,
    permit_digest,
    price_wei,
    receipt_digest,
    refund_digest,
    voucher_digest,
    work_hash,
)
from openledger_protocol.receipts import Delivery, check_receipt
from openledger_protocol.settlement import signer_consent_digest
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

VOUCHER = {**PLACE, "channel_id": CHANNEL, "adapter_id": digest("a"), "max_claimable_wei": "80"}
VOUCHERS: list[Case] = [
    ("plain", "a ceiling of 80 wei", VOUCHER),
    ("base only", "another lane, so another digest", {**VOUCHER, "adapter_id": digest("0")}),
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
    "signals_hash": digest("0"),
    "fingerprint": digest("7"),
}
WORKS: list[Case] = [
    ("plain", "by it an opening shows the work", WORK),
    ("with signals", "zero for attribution by text alone", {**WORK, "signals_hash": digest("8")}),
    ("the most", "each number at its bound", {**WORK, "tokens_in": 2**32 - 1, "tokens_out": 2**32 - 1}),
]
SHARE = {"datanet_id": digest("d"), "account": account(1), "ppm": 1_000_000}
RECEIPT = {
    **PLACE,
    "channel_id": CHANNEL,
    "seq": 12,
    "issued_at_s": 1_800_000_000,
    "adapter_id": digest("a"),
    "amount_wei": "200",
    "cumulative_wei": "500",
    "algo_id": 1,
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
    ("a second later", "its time is part of what is signed", {**RECEIPT, "issued_at_s": 1_800_000_001}),
    (
        "the most",
        "each number at its bound",
        {
            **RECEIPT,
            "seq": str(2**64 - 1),
            "issued_at_s": str(2**64 - 1),
            "amount_wei": UINT128_MAX_TEXT,
            "cumulative_wei": UINT128_MAX_TEXT,
            **dict.fromkeys(("algo_id", "tokens_in", "tokens_out"), 2**32 - 1),
        },
    ),
]

REFUNDS: list[Case] = [
    ("plain", "a part of the deposit", {**PLACE, "channel_id": CHANNEL, "amount_wei": "9", "nonce": 0})
]
QUESTION = {**PLACE, "channel_id": CHANNEL, "request_ids": [digest("2"), digest("6")], "asked_at_s": 1_800_000_000}
QUESTIONS: list[Case] = [
    ("plain", "for two receipts; the ids are hashed as an array", QUESTION),
    ("in another order", "is another question", {**QUESTION, "request_ids": [digest("6"), digest("2")]}),
]
PERMITS: list[Case] = [
    (
        "plain",
        "ERC-2612, under the token's own domain, whose version is 1",
        {
            **PLACE,
            "owner": PAYER,
            "spender": CONTRACT,
            "value_wei": str(10**18),
            "nonce": 0,
            "deadline_s": 1_700_000_000,
        },
    )
]

CONSENT = {**PLACE, "node": NODE, "deadline_s": 1_700_000_000}
CONSENTS: list[Case] = [
    ("plain", "a hot key agrees to sign for a node, under the staking domain", CONSENT),
    ("another node", "a key agrees to one", {**CONSENT, "node": PAYER}),
    ("the latest", "64 bits", {**CONSENT, "deadline_s": str(2**64 - 1)}),
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
    "of_adapter": VOUCHER["adapter_id"],
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
    ("another lane", "its money is for another adapter", {**CHECKED, "of_adapter": digest("0")}),
    ("relabelled", "the adapter is signed", {**CHECKED, "adapter_id": digest("0"), "of_adapter": digest("0")}),
    (
        "another signer",
        "the payer's own key is not the authorizer's",
        {**CHECKED, "signature": signature_of(PAYER_KEY)},
    ),
]

DELIVERY = {
    **TERMS,
    "signer": SIGNER,
    "seq_last": 11,
    "charged_wei": "300",
    "ceiling_wei": "500",
    "now_s": 1_800_000_000,
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
    ("10 minutes late", "clocks differ", {**RECEIVED, "now_s": 1_800_000_600}),
    ("dated back", "a second more than 10 minutes", {**RECEIVED, "now_s": 1_800_000_601}),
    ("dated ahead", "a second more than 10 minutes", {**RECEIVED, "now_s": 1_799_999_399}),
]


def checked_voucher(given: Any) -> str:
    signed = read(SignedVoucher, given)
    lane = read(LaneState, given, channel_id=given["of_channel"], adapter_id=given["of_adapter"])
    return str(check_voucher(lane, signed, payments(given)))


def checked_receipt(given: Any) -> str:
    receipt, shares = read(Receipt, given), [read(Share, SHARE)]
    delivery = read(Delivery, given, adapter_id=given["agreed_adapter_id"], datanet_ids=(SHARE["datanet_id"],))
    signature = sign_digest(SIGNER_KEY, receipt_digest(receipt, payments(given)))
    return hex_of(check_receipt(receipt, signature, shares, delivery, payments(given)))


def token(given: Any) -> Domain:
    return token_domain(given["chain_id"], given["contract"])


def questioned(given: Any) -> str:
    return hex_of(ask_digest(given["channel_id"], given["request_ids"], given["asked_at_s"], payments(given)))


def consented(given: Any) -> str:
    domain = staking_domain(given["chain_id"], given["contract"])
    return hex_of(signer_consent_digest(given["node"], int(given["deadline_s"]), domain))


RULES: Rules = {
    "channel_salt": (
        lambda given: channel_salt(given["network"], given["generation"], bytes_of(given["drawn"])),
        SALTS,
    ),
    "channel_id": (lambda given: channel_id(read(ChannelConfig, given), payments(given)), CHANNEL_IDS),
    "voucher_digest": (lambda given: hex_of(voucher_digest(read(Voucher, given), payments(given))), VOUCHERS),
    "receipt_digest": (lambda given: hex_of(receipt_digest(read(Receipt, given), payments(given))), RECEIPTS),
    "work_hash": (lambda given: hex_of(work_hash(read(Work, given))), WORKS),
    "ask_digest": (questioned, QUESTIONS),
    "refund_digest": (lambda given: hex_of(refund_digest(read(Refund, given), payments(given))), REFUNDS),
    "permit_digest": (lambda given: hex_of(permit_digest(read(Permit, given), token(given))), PERMITS),
    "signer_consent_digest": (consented, CONSENTS),
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
}
