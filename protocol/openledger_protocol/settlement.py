"""Claims, payout lists and withdrawals, as the contracts read and hash them.

The contracts store only hashes, so each call must bring the whole struct again, with its fields in the same order.
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
    """One adapter's earnings in an item."""

    adapter: int  # its index in the claim's list of adapters
    amount_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One channel in a claim: from its previously claimed total to its charge by a receipt since."""

    config: ChannelConfig
    max_claimable_wei: Wei  # of the voucher
    signature: bytes  # of the voucher
    from_wei: Wei
    to_wei: Wei  # always the total of a receipt
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochClaim:
    """A node's claim; the node signs it if another account sends the transaction."""

    node: Address
    seq: int
    epoch: int
    items_hash: Digest
    receipts_root: Digest
    count: int  # of receipts


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """The earnings of an adapter's or a Datanet's owner in a claim."""

    account: Address
    amount_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Pot:
    """The earnings of a Datanet's contributors through one adapter, divided by the node's payout list."""

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
    """One line of a payout list: an account's weight in a pot."""

    pot: int  # its index in the record
    account: Address  # zero: the Datanet's treasury
    weight: int  # Σ amount · ppm over receipts


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A payout list by its hashes; the node signs it if another account sends the transaction."""

    node: Address
    seq: int  # of the claim
    attribution_root: Digest
    leaf_count: int
    payouts_hash: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimFor:
    """An account's request to withdraw, for another account to send."""

    account: Address
    to: Address
    amount_wei: Wei
    nonce: int
    deadline_s: int


def items_hash(adapters: Sequence[AdapterId], items: Sequence[Item]) -> Digest:
    """The commitment to a claim's channels and their split between adapters."""
    rows = [digest_word(adapter) for adapter in adapters], [item_tuple(item) for item in items]
    return keccak_digest(encode(["bytes32[]", f"{ITEM_TYPE}[]"], rows))


def record_hash(record: ClaimRecord) -> Digest:
    """The hash that the contract stores of a claim."""
    return keccak_digest(encode([RECORD_TYPE], [record_tuple(record)]))


def payouts_hash(payouts: Sequence[Payout]) -> Digest:
    """The hash that the contract stores of a payout list."""
    return keccak_digest(encode([f"{PAYOUT_TYPE}[]"], [[payout_tuple(payout) for payout in payouts]]))


def claim_digest(claim: EpochClaim, domain: Domain) -> bytes:
    """The digest that a node signs so that another account can send its claim, under the payments domain."""
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
    """The digest that a node signs so that another account can send its proposal, under the rewards domain."""
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
    """The digest that an account signs so that another can send its withdrawal, under the rewards domain."""
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
    """A config in the order of `CONFIG_TYPE`, as contract calls encode it."""
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
