"""Claims, payout lists and withdrawals, as the contracts read and hash them.

The contracts store only hashes, so each call must bring the whole struct again, with its fields in the same order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eth_hash.auto import keccak

from .abi import abi_encode
from .attribution import SHARE_TYPE, Share, share_tuple
from .eip712 import (
    Domain,
    address_word,
    digest_word,
    keccak_digest,
    struct_hash,
    type_hash,
    typed_digest,
    uint_word,
)
from .payments import ChannelConfig, Receipt, channel_id, work_hash
from .primitives import AdapterId, Address, ChannelId, DatanetId, Digest, Wei, checksum_address
from .sum_tree import SumProof

CREDIT_TYPE = "(address,uint128)"
POT_TYPE = "(uint128,bytes32,bytes32,uint128,uint128)"
RECORD_TYPE = f"(address,uint64,uint64,uint64,uint64,bytes32,uint128,uint128,uint128,{CREDIT_TYPE}[],{POT_TYPE}[])"
PAYOUT_TYPE = "(uint16,address,uint256)"
SUM_PROOF_TYPE = "(uint256,bytes32[],uint128[])"
OPENING_TYPE = (
    f"(address,uint128,uint128,{SUM_PROOF_TYPE},bytes32,uint64,uint64,uint128,uint128,uint32,bytes32,"
    f"{SHARE_TYPE}[],bytes,uint256[],{SUM_PROOF_TYPE},uint256)"
)

NOBODY = checksum_address(b"\xff" * 20)
"""The account of a payout list that stands for the protocol; it is the largest, so it is the last of its pot.

It gets the data shares of receipts that no payer has countersigned.
"""

_CLAIM_HASH = type_hash("EpochClaim(address node,uint64 seq,uint64 epoch,bytes32 itemsHash)")
_ITEM_LEAF = type_hash("openledger.item-leaf/1")
_RECEIPT_LEAF = type_hash("openledger.receipt-leaf/2")
_CONSENT_HASH = type_hash("SignerConsent(address node,uint64 deadline)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One lane in a claim: from its previously claimed total to its charge by a receipt since."""

    config: ChannelConfig
    adapter: int  # its index in the claim's list of adapters
    max_claimable_wei: Wei  # of the voucher
    from_wei: Wei
    to_wei: Wei  # always the total of a receipt
    signature: bytes  # of the voucher

    @property
    def amount_wei(self) -> Wei:
        """The amount that it claims."""
        return Wei(self.to_wei - self.from_wei)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemSpan:
    """An item as a leaf of its claim's tree: one lane's amounts from one total to another."""

    channel_id: ChannelId
    adapter_id: AdapterId
    authorizer: Address
    from_wei: Wei
    to_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochClaim:
    """A node's claim; the node signs it if another account sends the transaction."""

    node: Address
    seq: int
    epoch: int
    items_hash: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """The earnings of an adapter's or a Datanet's owner in a claim."""

    account: Address
    amount_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Pot:
    """The earnings of a Datanet's contributors through one adapter, divided by the node's payout list."""

    start_wei: Wei  # the place on the claim's line, all its amounts end to end, where the adapter's earnings begin
    adapter_id: AdapterId
    datanet_id: DatanetId
    gross_wei: Wei  # the adapter's earnings in this claim, the same for each of its Datanets
    amount_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRecord:
    """A claim as the contract stores it, by its hash, until it is final."""

    node: Address
    seq: int
    epoch: int
    claimed_at_s: int
    claimed_block: int
    items_root: Digest  # of the sum tree over its items; a skipped one has the amount 0
    gross_wei: Wei
    protocol_wei: Wei
    node_share_wei: Wei
    credits: tuple[Credit, ...]
    pots: tuple[Pot, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout:
    """One line of a payout list: an account's weight in a pot."""

    pot: int  # its index in the record
    account: Address  # zero: the Datanet's treasury; NOBODY: the protocol
    weight: int  # Σ amount · ppm over receipts


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptOpening:
    """A countersigned receipt that shows a drawn point of a payout list, with its two places on the claim's line."""

    authorizer: Address
    from_wei: Wei  # of the item that claimed it
    to_wei: Wei
    item: SumProof  # in the contract's tree of items
    receipt: Receipt
    shares: tuple[Share, ...]
    countersignature: bytes
    offsets: tuple[int, ...]  # where the part of each share begins in its account's entry of the list
    place: SumProof  # in the node's tree of receipts
    share: int  # the index of the share whose part covers the point


def span_of(item: Item, adapters: Sequence[AdapterId], domain: Domain) -> ItemSpan:
    """The span of an item; `adapters` are those of its claim."""
    return ItemSpan(
        channel_id=channel_id(item.config, domain),
        adapter_id=adapters[item.adapter],
        authorizer=item.config.authorizer,
        from_wei=item.from_wei,
        to_wei=item.to_wei,
    )


def item_leaf(span: ItemSpan) -> bytes:
    """The hash of an item as a leaf of its claim's tree."""
    return keccak(
        _ITEM_LEAF
        + digest_word(span.channel_id)
        + digest_word(span.adapter_id)
        + address_word(span.authorizer)
        + uint_word(span.from_wei, 128)
        + uint_word(span.to_wei, 128)
    )


def receipt_leaf(digest: Digest, offsets: Sequence[int]) -> bytes:
    """The hash of a receipt as a leaf of the node's tree, bound to its parts' places in the payout list."""
    return keccak(
        abi_encode(["bytes32", "bytes32", "uint256[]"], [_RECEIPT_LEAF, digest_word(digest), list(offsets)])
    )


def items_hash(spans: Iterable[ItemSpan]) -> Digest:
    """The commitment to a claim's items: the hash of their leaves, in order."""
    return keccak_digest(b"".join(item_leaf(span) for span in spans))


def record_hash(record: ClaimRecord) -> Digest:
    """The hash that the contract stores of a claim."""
    return keccak_digest(abi_encode([RECORD_TYPE], [record_tuple(record)]))


def payouts_hash(payouts: Sequence[Payout]) -> Digest:
    """The hash that the contract stores of a payout list."""
    return keccak_digest(abi_encode([f"{PAYOUT_TYPE}[]"], [[payout_tuple(payout) for payout in payouts]]))


def claim_digest(claim: EpochClaim, domain: Domain) -> bytes:
    """The digest that a node signs so that another account can send its claim, under the payments domain."""
    struct = struct_hash(
        _CLAIM_HASH,
        address_word(claim.node),
        uint_word(claim.seq, 64),
        uint_word(claim.epoch, 64),
        digest_word(claim.items_hash),
    )
    return typed_digest(domain, struct)


def signer_consent_digest(node: Address, deadline_s: int, domain: Domain) -> bytes:
    """The digest by which a hot key agrees to sign for a node, under the staking domain.

    Without it anybody could appoint a stranger's key, and blame the stranger's work on a node of his own.
    """
    return typed_digest(domain, struct_hash(_CONSENT_HASH, address_word(node), uint_word(deadline_s, 64)))


def opening_tuple(opening: ReceiptOpening) -> tuple[object, ...]:
    """An opening in the order of `OPENING_TYPE`."""
    receipt = opening.receipt
    return (
        opening.authorizer,
        opening.from_wei,
        opening.to_wei,
        _proof_tuple(opening.item),
        digest_word(receipt.channel_id),
        receipt.seq,
        receipt.issued_at_s,
        receipt.amount_wei,
        receipt.cumulative_wei,
        receipt.algo_id,
        work_hash(receipt.work),
        [share_tuple(share) for share in opening.shares],
        opening.countersignature,
        list(opening.offsets),
        _proof_tuple(opening.place),
        opening.share,
    )


def payout_tuple(payout: Payout) -> tuple[object, ...]:
    """A payout in the order of `PAYOUT_TYPE`."""
    return payout.pot, payout.account, payout.weight


def record_tuple(record: ClaimRecord) -> tuple[object, ...]:
    """A record in the order of `RECORD_TYPE`."""
    return (
        record.node,
        record.seq,
        record.epoch,
        record.claimed_at_s,
        record.claimed_block,
        digest_word(record.items_root),
        record.gross_wei,
        record.protocol_wei,
        record.node_share_wei,
        [(credit.account, credit.amount_wei) for credit in record.credits],
        [_pot_tuple(pot) for pot in record.pots],
    )


def _pot_tuple(pot: Pot) -> tuple[object, ...]:
    return pot.start_wei, digest_word(pot.adapter_id), digest_word(pot.datanet_id), pot.gross_wei, pot.amount_wei


def _proof_tuple(proof: SumProof) -> tuple[object, ...]:
    return proof.index, list(proof.siblings), list(proof.sums)
