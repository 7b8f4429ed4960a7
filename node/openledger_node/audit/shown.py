"""The receipts that a node showed for the drawn points of a final payout list.

They are the only single answers that the chain publishes, in the data of the transaction that made the claim final.
An endpoint could send other data, so each receipt is proven by its place under the two roots of the claim.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from openledger_protocol.attribution import Share, shares_hash
from openledger_protocol.eip712 import Domain, hex_digest
from openledger_protocol.errors import ProtocolError
from openledger_protocol.payments import ShownReceipt, shown_receipt_digest
from openledger_protocol.primitives import AdapterId, Address, ChannelId, DatanetId, Digest, Wei
from openledger_protocol.settlement import ClaimRecord, ItemSpan, item_leaf, receipt_leaf
from openledger_protocol.signatures import check_signer
from openledger_protocol.sum_tree import SumLeaf, SumProof, place_of

from ..chain.contracts import load_contract


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownAnswer:
    """A countersigned receipt that is proven to be a part of a claim."""

    digest: Digest
    receipt: ShownReceipt
    shares: tuple[Share, ...]


class UnreadableShownError(Exception):
    """The data of a transaction does not prove the receipts of a claim."""


def shown_answers(
    sent: bytes | None, record: ClaimRecord, receipts_root: Digest, domain: Domain
) -> tuple[ShownAnswer, ...]:
    """The receipts that a transaction showed to make a claim final, each once.

    Raises:
        UnreadableShownError: the data is not here, or does not prove a receipt.
    """
    decoded = load_contract("AttributionRewards").decode_call(sent) if sent else None
    if decoded is None or decoded[0] != "finalize":
        raise UnreadableShownError("its transaction is not here, or is no plain call of finalize")
    try:
        found = {each.digest: each for each in _answers(decoded[1]["openings"], record, receipts_root, domain)}
    except (IndexError, ProtocolError) as error:
        raise UnreadableShownError(f"the data of its transaction does not prove its receipts: {error}") from error
    return tuple(found.values())


def _answers(openings: Any, record: ClaimRecord, receipts_root: Digest, domain: Domain) -> Iterator[ShownAnswer]:
    for row in openings:
        shares = tuple(_share(share) for share in row["shares"])
        datanet_id = shares[row["share"]].datanet_id
        # An opening does not name its adapter: only the right one leads to both roots.
        adapters = dict.fromkeys(pot.adapter_id for pot in record.pots if pot.datanet_id == datanet_id)
        yield _first_that_fits(row, shares, tuple(adapters), record, receipts_root, domain)


def _first_that_fits(
    row: Any,
    shares: tuple[Share, ...],
    adapters: tuple[AdapterId, ...],
    record: ClaimRecord,
    receipts_root: Digest,
    domain: Domain,
) -> ShownAnswer:
    for adapter_id in adapters[:-1]:
        try:
            return _proven(row, shares, adapter_id, record, receipts_root, domain)
        except ProtocolError:
            continue
    return _proven(row, shares, adapters[-1], record, receipts_root, domain)


def _proven(
    row: Any, shares: tuple[Share, ...], adapter_id: AdapterId, record: ClaimRecord, root: Digest, domain: Domain
) -> ShownAnswer:
    receipt = ShownReceipt(
        channel_id=ChannelId(row["channelId"]),
        seq=row["seq"],
        issued_at_s=row["issuedAt"],
        adapter_id=adapter_id,
        amount_wei=Wei(row["amount"]),
        cumulative_wei=Wei(row["cumulative"]),
        algo_id=row["algoId"],
        shares_hash=shares_hash(shares),
        work_hash=bytes.fromhex(row["workHash"][2:]),
    )
    digest = shown_receipt_digest(receipt, domain)
    check_signer(digest, bytes.fromhex(row["countersignature"][2:]), Address(row["authorizer"]))
    span = ItemSpan(
        channel_id=receipt.channel_id,
        adapter_id=adapter_id,
        authorizer=Address(row["authorizer"]),
        from_wei=Wei(row["from"]),
        to_wei=Wei(row["to"]),
    )
    item = SumLeaf(hash=item_leaf(span), amount=span.to_wei - span.from_wei)
    place_of(record.items_root, item, _proof(row["item"]))
    leaf = SumLeaf(hash=receipt_leaf(hex_digest(digest), row["offsets"]), amount=receipt.amount_wei)
    place_of(root, leaf, _proof(row["receipt"]))
    return ShownAnswer(digest=hex_digest(digest), receipt=receipt, shares=shares)


def _proof(row: Any) -> SumProof:
    siblings = tuple(bytes.fromhex(each[2:]) for each in row["siblings"])
    return SumProof(index=row["index"], siblings=siblings, sums=tuple(row["sums"]))


def _share(row: Any) -> Share:
    return Share(datanet_id=DatanetId(row["datanetId"]), account=Address(row["account"]), ppm=row["ppm"])
