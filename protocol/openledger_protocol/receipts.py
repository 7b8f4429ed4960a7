"""The payer's checks of a receipt before it countersigns."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from .attribution import Share, check_shares, shares_hash
from .constants import ISSUED_SKEW_S_MAX, RECEIPT_SEQ_MAX
from .eip712 import Domain
from .errors import ReceiptRefusedError
from .payments import Receipt, Terms, Work, price_wei, receipt_digest
from .primitives import AdapterId, Address, ChannelId, DatanetId, Wei
from .signatures import check_signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The payer's knowledge when the receipt arrives: the agreement and its own counts."""

    signer: Address  # the node's announced key
    channel_id: ChannelId
    seq_last: int  # of the lane's previous receipt; 0 if this is the first
    charged_wei: Wei  # cumulative of that receipt
    ceiling_wei: Wei  # of the lane's highest voucher
    terms: Terms
    adapter_id: AdapterId
    datanet_ids: tuple[DatanetId, ...]  # that the adapter was trained on
    algo_id: int
    now_s: int  # by the payer's clock
    work: Work


def check_receipt(
    receipt: Receipt, signature: bytes, shares: Sequence[Share], delivery: Delivery, domain: Domain
) -> bytes:
    """Return the digest to countersign if a receipt matches what was agreed and delivered.

    A countersignature is evidence, never a condition of payment; a refusal does not end the channel.

    Raises:
        ReceiptRefusedError: it names the field, its value and the expected value.
        AttributionError: the shares do not add up, or are of other Datanets.
        MalformedError: the signature is malformed.
        BadSignatureError: the node's signer did not sign it.
    """
    _check_agreed(receipt, delivery)
    _check_amounts(receipt, delivery)
    _check_shares(receipt, shares, delivery)
    digest = receipt_digest(receipt, domain)
    check_signer(digest, signature, delivery.signer)
    return digest


def _check_agreed(receipt: Receipt, delivery: Delivery) -> None:
    for name in ("channel_id", "adapter_id", "algo_id"):
        _require(name, getattr(receipt, name), getattr(delivery, name))
    for spec in fields(Work):
        _require(spec.name, getattr(receipt.work, spec.name), getattr(delivery.work, spec.name))

    if abs(receipt.issued_at_s - delivery.now_s) > ISSUED_SKEW_S_MAX:
        raise _refusal("issued_at_s", receipt.issued_at_s, delivery.now_s, "is minutes off the payer's clock at")


def _check_amounts(receipt: Receipt, delivery: Delivery) -> None:
    if receipt.seq <= delivery.seq_last:
        raise _refusal("seq", receipt.seq, delivery.seq_last, "is not over the last one's")
    if receipt.seq > RECEIPT_SEQ_MAX:
        raise _refusal("seq", receipt.seq, RECEIPT_SEQ_MAX, "is over the most, which is")
    _require(
        "amount_wei", receipt.amount_wei, price_wei(receipt.work.tokens_in, receipt.work.tokens_out, delivery.terms)
    )
    # A mismatch means that the receipt of a parallel stream is still in transit, or was never sent.
    _require("cumulative_wei", receipt.cumulative_wei, delivery.charged_wei + receipt.amount_wei)
    if receipt.cumulative_wei > delivery.ceiling_wei:
        raise _refusal("cumulative_wei", receipt.cumulative_wei, delivery.ceiling_wei, "is over the vouchers'")


def _check_shares(receipt: Receipt, shares: Sequence[Share], delivery: Delivery) -> None:
    check_shares(shares, delivery.datanet_ids)
    _require("shares_hash", receipt.shares_hash, shares_hash(shares))


def _require(field: str, value: object, expected: object) -> None:
    if value != expected:
        raise _refusal(field, value, expected, "is not")


def _refusal(field: str, value: object, expected: object, relation: str) -> ReceiptRefusedError:
    return ReceiptRefusedError(
        f"the receipt's {field} {value} {relation} {expected}", field=field, value=value, expected=expected
    )
