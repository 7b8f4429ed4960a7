"""Channels, their lanes, vouchers and receipts: the payer's limits, and the node's proof of work.

A lane is what one channel pays for one adapter; the base alone is a lane too. The payer signs a lane's vouchers, so
nobody can claim one adapter's money for another. A voucher is a ceiling that only grows, so a lost or replayed one
costs nobody anything. A receipt states the work done, and the lane's total charge after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .constants import PRICE_TOKENS
from .eip712 import (
    Domain,
    address_word,
    digest_word,
    hex_digest,
    keccak_digest,
    struct_hash,
    type_hash,
    typed_digest,
    uint_word,
)
from .errors import PaymentRequiredError, VoucherRefusedError
from .primitives import AdapterId, Address, ChannelId, Digest, RequestId, Salt, Wei
from .signatures import check_signer

_CONFIG_TYPE = type_hash(
    "ChannelConfig(address payer,address authorizer,address node,uint64 withdrawDelay,bytes32 salt)"
)
_VOUCHER_TYPE = type_hash("Voucher(bytes32 channelId,bytes32 adapterId,uint128 maxClaimable)")
_WORK = (
    "Work(bytes32 requestId,bytes32 profileHash,bytes32 indexRoot,uint32 tokensIn,uint32 tokensOut,"
    "bytes32 promptCommit,bytes32 outputCommit,bytes32 retrievalHash,bytes32 signalsHash,bytes32 fingerprint)"
)
_WORK_TYPE = type_hash(_WORK)
_RECEIPT_TYPE = type_hash(
    "Receipt(bytes32 channelId,uint64 seq,uint64 issuedAt,bytes32 adapterId,uint128 amount,uint128 cumulative,"
    "uint32 algoId,bytes32 sharesHash,Work work)" + _WORK
)
_ASK_TYPE = type_hash("ReceiptQuestion(bytes32 channelId,bytes32[] requestIds,uint64 askedAt)")
_REFUND_TYPE = type_hash("Refund(bytes32 channelId,uint128 amount,uint256 nonce)")
_PERMIT_TYPE = type_hash("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelConfig:
    """The full definition of a channel; its id is the hash of this for one contract on one chain."""

    payer: Address  # owner of the deposit
    authorizer: Address  # the payer's hot key: signs vouchers, countersigns receipts
    node: Address
    withdraw_delay_s: int  # from the payer's request to withdraw to the payout
    salt: Salt


@dataclass(frozen=True, slots=True, kw_only=True)
class Voucher:
    """The payer's promise: the node may claim up to this total of the channel for this adapter."""

    channel_id: ChannelId
    adapter_id: AdapterId  # zero: the base alone
    max_claimable_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedVoucher:
    """A voucher with its authorizer's signature."""

    voucher: Voucher
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The work behind a receipt, as counts and commitments that anyone with the text can check."""

    request_id: RequestId
    profile_hash: Digest  # base, quantisation, dtypes, engine, sampler and noise version
    index_root: Digest  # of the adapter's attribution index; zero without one
    tokens_in: int  # canonical tokenisation of the rendered prompt
    tokens_out: int  # by `billed_tokens`
    prompt_commit: Digest
    output_commit: Digest
    retrieval_hash: Digest  # zero: nothing was retrieved
    signals_hash: Digest  # zero for attribution by text alone
    fingerprint: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The node's statement: this work, by this adapter, for this price, with these contributors."""

    channel_id: ChannelId
    seq: int  # counts the channel's receipts from 1
    issued_at_s: int  # by the node's clock
    adapter_id: AdapterId
    amount_wei: Wei
    cumulative_wei: Wei  # the lane's total charge after this receipt, in the order of `seq`
    algo_id: int  # the attribution algorithm
    shares_hash: Digest
    work: Work


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownReceipt:
    """A receipt as an opening on the chain shows it: the hash of its work instead of the work."""

    channel_id: ChannelId
    seq: int
    issued_at_s: int
    adapter_id: AdapterId
    amount_wei: Wei
    cumulative_wei: Wei
    algo_id: int
    shares_hash: Digest
    work_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """The node's consent: this much of the deposit goes back immediately."""

    channel_id: ChannelId
    amount_wei: Wei
    nonce: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """An allowance of the token by signature, under the token's own domain.

    Source: ERC-2612.
    """

    owner: Address
    spender: Address
    value_wei: int
    nonce: int
    deadline_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """A node's prices, in wei per 1,000 tokens."""

    price_in_wei: Wei
    price_out_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneState:
    """A node's state of a lane when a voucher arrives."""

    channel_id: ChannelId
    adapter_id: AdapterId
    authorizer: Address
    ceiling_wei: Wei  # of its highest voucher
    limit_wei: Wei  # the total that the deposit, plus the node's credit, covers beside the channel's other lanes
    is_withdrawing: bool = False  # the payer has started a withdrawal, as of the latest block


def channel_id(config: ChannelConfig, domain: Domain) -> ChannelId:
    """The channel's id: its config's EIP-712 digest, and therefore bound to contract and chain."""
    struct = struct_hash(
        _CONFIG_TYPE,
        address_word(config.payer),
        address_word(config.authorizer),
        address_word(config.node),
        uint_word(config.withdraw_delay_s, 64),
        digest_word(config.salt),
    )
    return ChannelId(hex_digest(typed_digest(domain, struct)))


def voucher_digest(voucher: Voucher, domain: Domain) -> bytes:
    """The digest that the payer's authorizer signs, under the payments domain."""
    struct = struct_hash(
        _VOUCHER_TYPE,
        digest_word(voucher.channel_id),
        digest_word(voucher.adapter_id),
        uint_word(voucher.max_claimable_wei, 128),
    )
    return typed_digest(domain, struct)


def receipt_digest(receipt: Receipt, domain: Domain) -> bytes:
    """The digest that the node's signer signs and the payer's authorizer countersigns, under the payments domain."""
    return typed_digest(domain, _receipt_struct(receipt, work_hash(receipt.work)))


def shown_receipt_digest(receipt: ShownReceipt, domain: Domain) -> bytes:
    """The digest of a receipt that an opening on the chain shows."""
    return typed_digest(domain, _receipt_struct(receipt, receipt.work_hash))


def _receipt_struct(receipt: Receipt | ShownReceipt, work: bytes) -> bytes:
    return struct_hash(
        _RECEIPT_TYPE,
        digest_word(receipt.channel_id),
        uint_word(receipt.seq, 64),
        uint_word(receipt.issued_at_s, 64),
        digest_word(receipt.adapter_id),
        uint_word(receipt.amount_wei, 128),
        uint_word(receipt.cumulative_wei, 128),
        uint_word(receipt.algo_id, 32),
        digest_word(receipt.shares_hash),
        work,
    )


def work_hash(work: Work) -> bytes:
    """The struct hash of a receipt's work, by which an opening on the chain shows it."""
    return struct_hash(
        _WORK_TYPE,
        digest_word(work.request_id),
        digest_word(work.profile_hash),
        digest_word(work.index_root),
        uint_word(work.tokens_in, 32),
        uint_word(work.tokens_out, 32),
        digest_word(work.prompt_commit),
        digest_word(work.output_commit),
        digest_word(work.retrieval_hash),
        digest_word(work.signals_hash),
        digest_word(work.fingerprint),
    )


def ask_digest(channel_id: ChannelId, request_ids: Sequence[RequestId], asked_at_s: int, domain: Domain) -> bytes:
    """The digest that the authorizer signs to ask a node for receipts, under the payments domain.

    It moves no money, and no contract reads it. It keeps a payer's receipts from strangers.
    """
    struct = struct_hash(
        _ASK_TYPE,
        digest_word(channel_id),
        digest_word(keccak_digest(b"".join(map(digest_word, request_ids)))),
        uint_word(asked_at_s, 64),
    )
    return typed_digest(domain, struct)


def refund_digest(refund: Refund, domain: Domain) -> bytes:
    """The digest that the node signs to return part of the deposit, under the payments domain."""
    struct = struct_hash(
        _REFUND_TYPE,
        digest_word(refund.channel_id),
        uint_word(refund.amount_wei, 128),
        uint_word(refund.nonce, 256),
    )
    return typed_digest(domain, struct)


def permit_digest(permit: Permit, domain: Domain) -> bytes:
    """The digest that the owner of tokens signs, under the token's own domain."""
    struct = struct_hash(
        _PERMIT_TYPE,
        address_word(permit.owner),
        address_word(permit.spender),
        uint_word(permit.value_wei, 256),
        uint_word(permit.nonce, 256),
        uint_word(permit.deadline_s, 256),
    )
    return typed_digest(domain, struct)


def billed_tokens(generated_ids: Sequence[int], canonical_ids: Sequence[int]) -> int:
    """Count the tokens of an answer that may be billed: generated, or canonical if those are fewer.

    `canonical_ids` is the canonical tokenisation of the delivered text. A node that spells one text with more tokens
    than necessary earns nothing by it, and a token without a text (end of text) is not billed.
    """
    return min(len(generated_ids), len(canonical_ids))


def price_wei(tokens_in: int, tokens_out: int, terms: Terms) -> Wei:
    """The price of tokens, rounded down once, at the end."""
    return Wei((tokens_in * terms.price_in_wei + tokens_out * terms.price_out_wei) // PRICE_TOKENS)


def check_voucher(lane: LaneState, signed: SignedVoucher, domain: Domain) -> Wei:
    """Return the lane's ceiling after a voucher; one that is lower than the last changes nothing.

    Raises:
        VoucherRefusedError: it is for another lane, exceeds the lane's limit, or the payer is withdrawing.
        MalformedError: the signature is malformed.
        BadSignatureError: the channel's authorizer did not sign it.
    """
    voucher = signed.voucher
    if (voucher.channel_id, voucher.adapter_id) != (lane.channel_id, lane.adapter_id):
        raise VoucherRefusedError(
            f"the voucher is for adapter {voucher.adapter_id} on channel {voucher.channel_id}, "
            f"not for adapter {lane.adapter_id} on channel {lane.channel_id}"
        )
    if voucher.max_claimable_wei > lane.ceiling_wei:
        _check_limit(lane, voucher)
    check_signer(voucher_digest(voucher, domain), signed.signature, lane.authorizer)
    return max(lane.ceiling_wei, voucher.max_claimable_wei)


def _check_limit(lane: LaneState, voucher: Voucher) -> None:
    if lane.is_withdrawing:
        raise VoucherRefusedError("the payer is withdrawing from the channel: it takes no more vouchers")
    if voucher.max_claimable_wei > lane.limit_wei:
        raise VoucherRefusedError(
            f"the voucher allows {voucher.max_claimable_wei} wei but the channel is good for {lane.limit_wei} beside "
            "its other adapters: top it up, or wait until the deposit is final",
            max_claimable_wei=voucher.max_claimable_wei,
            limit_wei=lane.limit_wei,
        )


def check_covered(ceiling_wei: Wei, needed_wei: Wei) -> None:
    """Require that vouchers cover the lane's total charge after the next step.

    Raises:
        PaymentRequiredError: they do not; a voucher for `needed_wei` would.
    """
    if ceiling_wei < needed_wei:
        raise PaymentRequiredError(
            f"the next step needs a voucher for {needed_wei} wei in all, and the last one allows {ceiling_wei}",
            ceiling_wei=ceiling_wei,
            needed_wei=needed_wei,
        )
