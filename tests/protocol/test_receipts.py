"""What a payer checks before it countersigns: each field of a receipt, by its own refusal."""

from dataclasses import fields, replace
from typing import Any

import pytest
from support.signed import CHANNEL, PAYER_KEY, PAYMENTS, SIGNER, SIGNER_KEY, WORK, account, digest, plain_receipt

from openledger_protocol.attribution import Share, shares_hash
from openledger_protocol.constants import ISSUED_SKEW_S_MAX, PPM, RECEIPT_SEQ_MAX
from openledger_protocol.errors import AttributionError, BadSignatureError, MalformedError, ReceiptRefusedError
from openledger_protocol.payments import Receipt, Terms, Work, receipt_digest
from openledger_protocol.primitives import AdapterId, DatanetId, Wei
from openledger_protocol.receipts import Delivery, check_receipt
from openledger_protocol.signatures import sign_digest

DATANET = DatanetId(digest("d"))
SHARES = (Share(datanet_id=DATANET, account=account(1), ppm=PPM),)
NOW_S = 1_800_000_000
TERMS = Terms(price_in_wei=Wei(1_000), price_out_wei=Wei(2_000))  # 100 tokens in and 50 out cost 200 wei

DELIVERY = Delivery(
    signer=SIGNER,
    channel_id=CHANNEL,
    seq_last=10,
    charged_wei=Wei(300),
    ceiling_wei=Wei(500),
    terms=TERMS,
    adapter_id=AdapterId(digest("a")),
    datanet_ids=(DATANET,),
    algo_id=1,
    now_s=NOW_S,
    work=WORK,
)
RECEIPT = plain_receipt(
    200, SHARES, seq=11, issued_at_s=NOW_S, adapter_id=DELIVERY.adapter_id, cumulative_wei=Wei(500)
)


def check(receipt: Receipt = RECEIPT, *, shares: tuple[Share, ...] = SHARES, delivery: Delivery = DELIVERY) -> bytes:
    signature = sign_digest(SIGNER_KEY, receipt_digest(receipt, PAYMENTS))
    return check_receipt(receipt, signature, shares, delivery, PAYMENTS)


def test_a_sound_receipt_gives_the_digest_to_countersign() -> None:
    assert check() == receipt_digest(RECEIPT, PAYMENTS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channel_id": digest("9")}, f"channel_id {digest('9')} is not {CHANNEL}"),
        ({"adapter_id": digest("b")}, f"adapter_id {digest('b')} is not {digest('a')}"),
        ({"algo_id": 3}, "algo_id 3 is not 1"),
        ({"seq": 10}, "seq 10 is not over the last one's 10"),
        ({"seq": RECEIPT_SEQ_MAX + 1}, f"seq {RECEIPT_SEQ_MAX + 1} is over the most, which is {RECEIPT_SEQ_MAX}"),
        ({"amount_wei": 201, "cumulative_wei": 501}, "amount_wei 201 is not 200"),
        ({"amount_wei": 199, "cumulative_wei": 499}, "amount_wei 199 is not 200"),
        ({"cumulative_wei": 499}, "cumulative_wei 499 is not 500"),
        ({"cumulative_wei": 501}, "cumulative_wei 501 is not 500"),
        ({"shares_hash": digest("b")}, f"shares_hash {digest('b')} is not {shares_hash(SHARES)}"),
    ],
)
def test_a_receipt_that_says_something_else_is_refused_with_both_values(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ReceiptRefusedError, match=f"the receipt's {message}"):
        check(replace(RECEIPT, **changes))


@pytest.mark.parametrize("field", [spec.name for spec in fields(Work)])
def test_each_field_of_the_work_is_the_payers_own(field: str) -> None:
    value = 51 if field.startswith("tokens") else digest("b")
    with pytest.raises(ReceiptRefusedError, match=f"the receipt's {field} ") as refusal:
        check(replace(RECEIPT, work=replace(WORK, **{field: value})))
    assert refusal.value.values == {"field": field, "value": value, "expected": getattr(WORK, field)}


def test_a_charge_over_the_vouchers_is_refused() -> None:
    with pytest.raises(ReceiptRefusedError, match="cumulative_wei 500 is over the vouchers' 499"):
        check(delivery=replace(DELIVERY, ceiling_wei=Wei(499)))


def test_a_receipt_of_another_signer_is_refused_by_name() -> None:
    signature = sign_digest(PAYER_KEY, receipt_digest(RECEIPT, PAYMENTS))
    with pytest.raises(BadSignatureError, match=f"not by {SIGNER}"):
        check_receipt(RECEIPT, signature, SHARES, DELIVERY, PAYMENTS)
    with pytest.raises(MalformedError, match="65 bytes"):
        check_receipt(RECEIPT, signature[:64], SHARES, DELIVERY, PAYMENTS)


def test_shares_that_do_not_add_up_are_refused_although_they_are_signed() -> None:
    shares = (replace(SHARES[0], ppm=PPM - 1),)
    with pytest.raises(AttributionError, match="sum to 999999 ppm"):
        check(replace(RECEIPT, shares_hash=shares_hash(shares)), shares=shares)


@pytest.mark.parametrize("issued_at_s", [0, NOW_S - ISSUED_SKEW_S_MAX - 1, NOW_S + ISSUED_SKEW_S_MAX + 1, 2**64 - 1])
def test_a_receipt_is_dated_minutes_back_or_ahead_at_most(issued_at_s: int) -> None:
    """A node that backdates would be out of its stake's reach when votes decide."""
    for skew_s in (-ISSUED_SKEW_S_MAX, ISSUED_SKEW_S_MAX):
        check(replace(RECEIPT, issued_at_s=NOW_S + skew_s))
    with pytest.raises(ReceiptRefusedError, match=f"issued_at_s {issued_at_s} is minutes off the payer's clock at"):
        check(replace(RECEIPT, issued_at_s=issued_at_s))


def test_a_lanes_first_receipt_starts_at_nothing() -> None:
    first = replace(DELIVERY, seq_last=0, charged_wei=Wei(0))
    check(replace(RECEIPT, seq=1, cumulative_wei=Wei(200)), delivery=first)
    check(
        replace(RECEIPT, seq=99, cumulative_wei=Wei(200)), delivery=first
    )  # `seq` counts in all the channel's lanes
    with pytest.raises(ReceiptRefusedError, match="seq 0 is not over the last one's 0"):
        check(replace(RECEIPT, seq=0, cumulative_wei=Wei(200)), delivery=first)


def test_the_base_alone_owes_no_shares() -> None:
    check(replace(RECEIPT, shares_hash=shares_hash(())), shares=(), delivery=replace(DELIVERY, datanet_ids=()))
