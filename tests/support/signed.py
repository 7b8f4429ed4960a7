"""Strategies and samples of the money path's values, for tests of the protocol and of the contracts."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from openledger_protocol.eip712 import Domain, payments_domain
from openledger_protocol.epoch import Params, Windows
from openledger_protocol.payments import (
    ChannelConfig,
    Permit,
    Receipt,
    Refund,
    Voucher,
    Work,
    channel_id,
    voucher_digest,
)
from openledger_protocol.primitives import (
    ZERO_WEI,
    AdapterId,
    Address,
    ChannelId,
    Digest,
    RequestId,
    Salt,
    Wei,
    checksum_address,
)
from openledger_protocol.settlement import ClaimFor, ClaimRecord, EpochClaim, Item, ItemSpan
from openledger_protocol.signatures import address_of, sign_digest

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
    signals_hash=digest("0"),
    fingerprint=digest("7"),
)


def lane_item(
    adapter: int, adapter_id: AdapterId, amount: int, *, start: int = 0, config: ChannelConfig = CONFIG
) -> Item:
    """An item that claims `amount` wei of a lane from `start` on, under a voucher for just that much."""
    total = Wei(start + amount)
    voucher = Voucher(channel_id=channel_id(config, PAYMENTS), adapter_id=adapter_id, max_claimable_wei=total)
    return Item(
        config=config,
        adapter=adapter,
        max_claimable_wei=total,
        from_wei=Wei(start),
        to_wei=total,
        signature=sign_digest(AUTHORIZER_KEY, voucher_digest(voucher, PAYMENTS)),
    )


PARAMS = Params(
    protocol_ppm=50_000,
    stakers_ppm=50_000,
    data_ppm=200_000,
    min_stake_wei=Wei(1),
    min_deposit_wei=Wei(1),
    adapter_bond_wei=Wei(1),
    draws=4,
    algo_id=1,
    credit_tokens_max=32,
    least_context=2_048,
    guide_price_wei=Wei(1),
)
"""A network's values, by which claims are divided."""

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
vouchers = st.builds(Voucher, channel_id=digests, adapter_id=digests, max_claimable_wei=weis)
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
    signals_hash=digests,
    fingerprint=digests,
)
receipts = st.builds(
    Receipt,
    channel_id=digests,
    seq=uints(64),
    issued_at_s=uints(64),
    adapter_id=digests,
    amount_wei=weis,
    cumulative_wei=weis,
    algo_id=uints(32),
    shares_hash=digests,
    work=works,
)
refunds = st.builds(Refund, channel_id=digests, amount_wei=weis, nonce=uints(256))
permits = st.builds(
    Permit, owner=addresses, spender=addresses, value_wei=uints(256), nonce=uints(256), deadline_s=uints(256)
)
claims = st.builds(EpochClaim, node=addresses, seq=uints(64), epoch=uints(64), items_hash=digests)
claims_for = st.builds(
    ClaimFor, account=addresses, to=addresses, amount_wei=weis, nonce=uints(256), deadline_s=uints(64)
)
spans = st.builds(ItemSpan, channel_id=digests, adapter_id=digests, authorizer=addresses, from_wei=weis, to_wei=weis)


TYPES: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "ChannelConfig": (
        ("address", "payer", "payer"),
        ("address", "authorizer", "authorizer"),
        ("address", "node", "node"),
        ("uint64", "withdrawDelay", "withdraw_delay_s"),
        ("bytes32", "salt", "salt"),
    ),
    "Voucher": (
        ("bytes32", "channelId", "channel_id"),
        ("bytes32", "adapterId", "adapter_id"),
        ("uint128", "maxClaimable", "max_claimable_wei"),
    ),
    "Receipt": (
        ("bytes32", "channelId", "channel_id"),
        ("uint64", "seq", "seq"),
        ("uint64", "issuedAt", "issued_at_s"),
        ("bytes32", "adapterId", "adapter_id"),
        ("uint128", "amount", "amount_wei"),
        ("uint128", "cumulative", "cumulative_wei"),
        ("uint32", "algoId", "algo_id"),
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
        ("bytes32", "signalsHash", "signals_hash"),
        ("bytes32", "fingerprint", "fingerprint"),
    ),
    "EpochClaim": (
        ("address", "node", "node"),
        ("uint64", "seq", "seq"),
        ("uint64", "epoch", "epoch"),
        ("bytes32", "itemsHash", "items_hash"),
    ),
    "Refund": (
        ("bytes32", "channelId", "channel_id"),
        ("uint128", "amount", "amount_wei"),
        ("uint256", "nonce", "nonce"),
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


WINDOWS = Windows(
    epoch_s=30, propose_s=31, window_s=10, redraw_blocks=16, contest_s=30, judge_s=60, pause_max_s=32, pause_gap_s=60,
    unbonding_s=90, withdraw_delay_min_s=10, withdraw_delay_max_s=3_600, withdraw_period_s=604_800,
)  # fmt: skip


def claim_record(**changes: Any) -> ClaimRecord:
    """A claim of the node that pays nobody yet."""
    given: dict[str, Any] = {"node": NODE, "seq": 1, "epoch": 1, "claimed_at_s": 1, "claimed_block": 1}
    given |= {"items_root": digest("1"), "gross_wei": ZERO_WEI, "protocol_wei": ZERO_WEI, "stakers_wei": ZERO_WEI}
    return ClaimRecord(**given | {"node_share_wei": ZERO_WEI, "credits": (), "pots": (), **changes})
