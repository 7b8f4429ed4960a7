"""Claims, lists of who is owed, and withdrawals, as the contracts read and hash them.

The contracts keep hashes only: whoever calls them brings the whole struct again, its fields in the same order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eth_abi.abi import encode

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
from .payments import ChannelConfig
from .primitives import AdapterId, Address, DatanetId, Digest, Wei

CONFIG_TYPE = "(address,address,address,uint64,bytes32)"
PART_TYPE = "(uint16,uint128)"
ITEM_TYPE = f"({CONFIG_TYPE},uint128,bytes,uint128,uint128,{PART_TYPE}[])"
CREDIT_TYPE = "(address,uint128)"
POT_TYPE = "(bytes32,bytes32,uint128,uint128)"
RECORD_TYPE = (
    "(address,uint64,uint64,uint64,bytes32,bytes32,uint32,uint256,uint128,uint128,uint128,uint128,"
    f"{CREDIT_TYPE}[],{POT_TYPE}[])"
)
PAYOUT_TYPE = "(uint16,address,uint256)"

_CLAIM_HASH = type_hash(
    "EpochClaim(address node,uint64 seq,uint64 epoch,bytes32 itemsHash,bytes32 receiptsRoot,uint32 count)"
)
_PROPOSAL_HASH = type_hash(
    "Proposal(address node,uint64 seq,bytes32 attributionRoot,uint32 leafCount,bytes32 payoutsHash)"
)
_CLAIM_FOR_HASH = type_hash("ClaimFor(address account,address to,uint128 amount,uint256 nonce,uint64 deadline)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one adapter earned in an item."""

    adapter: int  # its index in the claim's list of adapters
    amount_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One channel in a claim: from what was claimed of it to what a receipt has charged it since."""

    config: ChannelConfig
    max_claimable_wei: Wei  # of the voucher
    signature: bytes  # of the voucher
    from_wei: Wei
    to_wei: Wei  # always ends on a receipt
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochClaim:
    """What a node claims at once; it signs this where another sends the transaction."""

    node: Address
    seq: int
    epoch: int
    items_hash: Digest
    receipts_root: Digest
    count: int  # of receipts


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """What an adapter's or a Datanet's owner earned in a claim."""

    account: Address
    amount_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Pot:
    """What a Datanet's contributors earned through one adapter, for the node's list to divide."""

    adapter_id: AdapterId
    datanet_id: DatanetId
    gross_wei: Wei  # all that the adapter earned in this claim, the same for each of its Datanets
    amount_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRecord:
    """A claim as the contract keeps it, by its hash, until it is final."""

    node: Address
    seq: int
    epoch: int
    claimed_at_s: int
    items_hash: Digest
    receipts_root: Digest
    count: int
    skipped: int  # bit i: item i was not counted
    gross_wei: Wei
    protocol_wei: Wei
    stakers_wei: Wei
    node_share_wei: Wei
    credits: tuple[Credit, ...]
    pots: tuple[Pot, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout:
    """One line of a node's list: who is owed which part of a pot."""

    pot: int  # its index in the record
    account: Address  # zero: the Datanet's treasury
    weight: int  # Σ amount · ppm over receipts


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Who is owed, by hashes; the node signs it where another sends the transaction."""

    node: Address
    seq: int  # of the claim
    attribution_root: Digest
    leaf_count: int
    payouts_hash: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimFor:
    """An account's wish to be paid out, for somebody else to send."""

    account: Address
    to: Address
    amount_wei: Wei
    nonce: int
    deadline_s: int


def items_hash(adapters: Sequence[AdapterId], items: Sequence[Item]) -> Digest:
    """What a claim commits its channels, and their split between adapters, by."""
    rows = [digest_word(adapter) for adapter in adapters], [item_tuple(item) for item in items]
    return keccak_digest(encode(["bytes32[]", f"{ITEM_TYPE}[]"], rows))


def record_hash(record: ClaimRecord) -> Digest:
    """What the contract keeps of a claim."""
    return keccak_digest(encode([RECORD_TYPE], [record_tuple(record)]))


def payouts_hash(payouts: Sequence[Payout]) -> Digest:
    """What the contract keeps of a node's list."""
    return keccak_digest(encode([f"{PAYOUT_TYPE}[]"], [[payout_tuple(payout) for payout in payouts]]))


def claim_digest(claim: EpochClaim, domain: Domain) -> bytes:
    """What a node signs for another to claim in its name, under the payments domain."""
    struct = struct_hash(
        _CLAIM_HASH,
        address_word(claim.node),
        uint_word(claim.seq, 64),
        uint_word(claim.epoch, 64),
        digest_word(claim.items_hash),
        digest_word(claim.receipts_root),
        uint_word(claim.count, 32),
    )
    return typed_digest(domain, struct)


def proposal_digest(proposal: Proposal, domain: Domain) -> bytes:
    """What a node signs for another to propose in its name, under the rewards domain."""
    struct = struct_hash(
        _PROPOSAL_HASH,
        address_word(proposal.node),
        uint_word(proposal.seq, 64),
        digest_word(proposal.attribution_root),
        uint_word(proposal.leaf_count, 32),
        digest_word(proposal.payouts_hash),
    )
    return typed_digest(domain, struct)


def claim_for_digest(claim: ClaimFor, domain: Domain) -> bytes:
    """What an account signs for another to send its withdrawal, under the rewards domain."""
    struct = struct_hash(
        _CLAIM_FOR_HASH,
        address_word(claim.account),
        address_word(claim.to),
        uint_word(claim.amount_wei, 128),
        uint_word(claim.nonce, 256),
        uint_word(claim.deadline_s, 64),
    )
    return typed_digest(domain, struct)


def config_tuple(config: ChannelConfig) -> tuple[object, ...]:
    """A config in the order of `CONFIG_TYPE`, as calls of contracts encode it."""
    return config.payer, config.authorizer, config.node, config.withdraw_delay_s, digest_word(config.salt)


def item_tuple(item: Item) -> tuple[object, ...]:
    """An item in the order of `ITEM_TYPE`."""
    parts = [(part.adapter, part.amount_wei) for part in item.parts]
    return config_tuple(item.config), item.max_claimable_wei, item.signature, item.from_wei, item.to_wei, parts


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
        digest_word(record.items_hash),
        digest_word(record.receipts_root),
        record.count,
        record.skipped,
        record.gross_wei,
        record.protocol_wei,
        record.stakers_wei,
        record.node_share_wei,
        [(credit.account, credit.amount_wei) for credit in record.credits],
        [_pot_tuple(pot) for pot in record.pots],
    )


def _pot_tuple(pot: Pot) -> tuple[object, ...]:
    return digest_word(pot.adapter_id), digest_word(pot.datanet_id), pot.gross_wei, pot.amount_wei
