"""Channels, lanes, vouchers, receipts: digests, signatures, prices and refusals."""

from typing import Any

from openledger_protocol.attribution import Share
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
    PAYER,
    PAYER_KEY,
    PLACE,
    SIGNER,
    SIGNER_KEY,
    Case,
    Rules,
    account,
    bytes_of,
    digest,
    given_in,
    hex_of,
    payments,
    read,
)

VOUCHER = given_in("payments", "voucher_digest")["plain"]
CHANNEL = VOUCHER["channel_id"]
SHARE = {"datanet_id": digest("d"), "account": account(1), "ppm": 1_000_000}
RECEIPT = given_in("payments", "receipt_digest")["plain"]
WORK = given_in("payments", "work_hash")["plain"]
TERMS = {"price_in_wei": "1000", "price_out_wei": "2000"}


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
    "channel_salt": lambda given: channel_salt(given["network"], given["generation"], bytes_of(given["drawn"])),
    "channel_id": lambda given: channel_id(read(ChannelConfig, given), payments(given)),
    "voucher_digest": lambda given: hex_of(voucher_digest(read(Voucher, given), payments(given))),
    "receipt_digest": lambda given: hex_of(receipt_digest(read(Receipt, given), payments(given))),
    "work_hash": lambda given: hex_of(work_hash(read(Work, given))),
    "ask_digest": questioned,
    "refund_digest": lambda given: hex_of(refund_digest(read(Refund, given), payments(given))),
    "permit_digest": lambda given: hex_of(permit_digest(read(Permit, given), token(given))),
    "signer_consent_digest": consented,
    "address_of": lambda given: address_of(bytes_of(given["private_key"])),
    "sign_digest": lambda given: hex_of(sign_digest(bytes_of(given["private_key"]), bytes_of(given["digest"]))),
    "recover_address": lambda given: recover_address(bytes_of(given["digest"]), bytes_of(given["signature"])),
    "price_wei": lambda given: str(price_wei(given["tokens_in"], given["tokens_out"], read(Terms, given))),
    "check_voucher": (checked_voucher, VOUCHERS_CHECKED),
    "check_receipt": (checked_receipt, RECEIPTS_CHECKED),
}
