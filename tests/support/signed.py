"""Strategies and samples of the money path's values, for tests of the protocol and of the contracts."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from openledger_protocol.eip712 import Domain, payments_domain
from openledger_protocol.payments import ChannelConfig, Permit, Receipt, Refund, Voucher, Work, channel_id
from openledger_protocol.primitives import Address, ChannelId, Digest, RequestId, Salt, Wei, checksum_address
from openledger_protocol.settlement import ClaimFor, EpochClaim, Part, Proposal
from openledger_protocol.signatures import address_of

PAYER_KEY, AUTHORIZER_KEY, NODE_KEY, SIGNER_KEY = (bytes([number]) * 32 for number in (1, 2, 3, 4))
PAYER, AUTHORIZER, NODE, SIGNER = (address_of(key) for key in (PAYER_KEY, AUTHORIZER_KEY, NODE_KEY, SIGNER_KEY))
CONTRACT = Address("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")
PAYMENTS: Domain = payments_domain(31337, CONTRACT)

CONFIG = ChannelConfig(payer=PAYER, authorizer=AUTHORIZER, node=NODE, withdraw_delay_s=40, salt=Salt("0x" + "5" * 64))
CHANNEL: ChannelId = channel_id(CONFIG, PAYMENTS)


def digest(digit: str) -> Digest:
    """A digest of one digit, easily told apart in a failure."""
    return Digest("0x" + digit * 64)


def account(number: int) -> Address:
    """The account whose 20 bytes are this number."""
    return checksum_address(number.to_bytes(20, "big"))


WORK = Work(
    request_id=RequestId(digest("1")),
    profile_hash=digest("2"),
    index_root=digest("3"),
    tokens_in=100,
    tokens_out=50,
    prompt_commit=digest("4"),
    output_commit=digest("6"),
    retrieval_hash=digest("0"),
    fingerprint=digest("7"),
)

digests = st.binary(min_size=32, max_size=32).map(lambda raw: Digest("0x" + raw.hex()))
addresses = st.binary(min_size=20, max_size=20).map(checksum_address)


def uints(bits: int) -> st.SearchStrategy[int]:
    """Unsigned integers of so many bits, the largest among them."""
    return st.integers(min_value=0, max_value=2**bits - 1)


weis = uints(128).map(Wei)
domains = st.builds(
    Domain, name=st.sampled_from(["OpenLedgerPayments", "é"]), chain_id=uints(256), verifying_contract=addresses
)
configs = st.builds(
    ChannelConfig, payer=addresses, authorizer=addresses, node=addresses, withdraw_delay_s=uints(64), salt=digests
)
vouchers = st.builds(Voucher, channel_id=digests, max_claimable_wei=weis)
works = st.builds(
    Work,
    request_id=digests,
    profile_hash=digests,
    index_root=digests,
    tokens_in=uints(32),
    tokens_out=uints(32),
    prompt_commit=digests,
    output_commit=digests,
    retrieval_hash=digests,
    fingerprint=digests,
)
receipts = st.builds(
    Receipt,
    channel_id=digests,
    seq=uints(64),
    adapter_id=digests,
    amount_wei=weis,
    cumulative_wei=weis,
    algo_id=uints(32),
    flags=uints(32),
    nonce_commit=digests,
    shares_hash=digests,
    work=works,
)
refunds = st.builds(Refund, channel_id=digests, amount_wei=weis, nonce=uints(256))
permits = st.builds(
    Permit, owner=addresses, spender=addresses, value_wei=uints(256), nonce=uints(256), deadline_s=uints(256)
)
claims = st.builds(
    EpochClaim,
    node=addresses,
    seq=uints(64),
    epoch=uints(64),
    items_hash=digests,
    receipts_root=digests,
    count=uints(32),
)
proposals = st.builds(
    Proposal, node=addresses, seq=uints(64), attribution_root=digests, leaf_count=uints(32), payouts_hash=digests
)
claims_for = st.builds(
    ClaimFor, account=addresses, to=addresses, amount_wei=weis, nonce=uints(256), deadline_s=uints(64)
)
parts = st.builds(Part, adapter=uints(16), amount_wei=weis)


TYPES: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "ChannelConfig": (
        ("address", "payer", "payer"),
        ("address", "authorizer", "authorizer"),
        ("address", "node", "node"),
        ("uint64", "withdrawDelay", "withdraw_delay_s"),
        ("bytes32", "salt", "salt"),
    ),
    "Voucher": (("bytes32", "channelId", "channel_id"), ("uint128", "maxClaimable", "max_claimable_wei")),
    "Receipt": (
        ("bytes32", "channelId", "channel_id"),
        ("uint64", "seq", "seq"),
        ("bytes32", "adapterId", "adapter_id"),
        ("uint128", "amount", "amount_wei"),
        ("uint128", "cumulative", "cumulative_wei"),
        ("uint32", "algoId", "algo_id"),
        ("uint32", "flags", "flags"),
        ("bytes32", "nonceCommit", "nonce_commit"),
        ("bytes32", "sharesHash", "shares_hash"),
        ("Work", "work", "work"),
    ),
    "Work": (
        ("bytes32", "requestId", "request_id"),
        ("bytes32", "profileHash", "profile_hash"),
        ("bytes32", "indexRoot", "index_root"),
        ("uint32", "tokensIn", "tokens_in"),
        ("uint32", "tokensOut", "tokens_out"),
        ("bytes32", "promptCommit", "prompt_commit"),
        ("bytes32", "outputCommit", "output_commit"),
        ("bytes32", "retrievalHash", "retrieval_hash"),
        ("bytes32", "fingerprint", "fingerprint"),
    ),
    "EpochClaim": (
        ("address", "node", "node"),
        ("uint64", "seq", "seq"),
        ("uint64", "epoch", "epoch"),
        ("bytes32", "itemsHash", "items_hash"),
        ("bytes32", "receiptsRoot", "receipts_root"),
        ("uint32", "count", "count"),
    ),
    "Refund": (
        ("bytes32", "channelId", "channel_id"),
        ("uint128", "amount", "amount_wei"),
        ("uint256", "nonce", "nonce"),
    ),
    "Proposal": (
        ("address", "node", "node"),
        ("uint64", "seq", "seq"),
        ("bytes32", "attributionRoot", "attribution_root"),
        ("uint32", "leafCount", "leaf_count"),
        ("bytes32", "payoutsHash", "payouts_hash"),
    ),
    "ClaimFor": (
        ("address", "account", "account"),
        ("address", "to", "to"),
        ("uint128", "amount", "amount_wei"),
        ("uint256", "nonce", "nonce"),
        ("uint64", "deadline", "deadline_s"),
    ),
    "Permit": (
        ("address", "owner", "owner"),
        ("address", "spender", "spender"),
        ("uint256", "value", "value_wei"),
        ("uint256", "nonce", "nonce"),
        ("uint256", "deadline", "deadline_s"),
    ),
}
"""The types as the design writes them: (type, name, our field)."""


def typed_data(value: Any, domain: Domain) -> dict[str, Any]:
    """Describe a value as a wallet is given it, JSON by JSON."""
    name = type(value).__name__
    used = [name, *[kind for kind, _, _ in TYPES[name] if kind in TYPES]]
    return {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            **{used_name: [{"name": key, "type": kind} for kind, key, _ in TYPES[used_name]] for used_name in used},
        },
        "primaryType": name,
        "domain": {
            "name": domain.name,
            "version": domain.version,
            "chainId": domain.chain_id,
            "verifyingContract": domain.verifying_contract,
        },
        "message": _message(value),
    }


def _message(value: Any) -> dict[str, Any]:
    fields = TYPES[type(value).__name__]
    return {
        key: _message(getattr(value, field)) if kind in TYPES else getattr(value, field)
        for kind, key, field in fields
    }
