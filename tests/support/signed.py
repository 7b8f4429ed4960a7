"""Strategies and samples of the money path's values, for tests of the protocol and of the contracts."""

from typing import Any

from hypothesis import strategies as st

from openledger_protocol.attribution import Share, shares_hash
from openledger_protocol.eip712 import Domain, payments_domain
from openledger_protocol.epoch import Params, Windows
from openledger_protocol.inference import Message, SamplingParams
from openledger_protocol.opening import Opening
from openledger_protocol.payments import (
    ChannelConfig,
    Receipt,
    Voucher,
    Work,
    channel_id,
    voucher_digest,
)
from openledger_protocol.primitives import (
    BASE_ONLY,
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
from openledger_protocol.settlement import ClaimRecord, Item, ItemSpan
from openledger_protocol.signatures import address_of, sign_digest
from openledger_protocol.wire.inference import Salts

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


def plain_receipt(amount_wei: int = 1, shares: tuple[Share, ...] = (), **changes: Any) -> Receipt:
    """A receipt of that much with these shares, the first of `CHANNEL` if no other is named."""
    fields = {"channel_id": CHANNEL, "seq": 1, "issued_at_s": 1, "adapter_id": BASE_ONLY, "algo_id": 1, "work": WORK}
    sums = {"amount_wei": Wei(amount_wei), "cumulative_wei": Wei(amount_wei), "shares_hash": shares_hash(shares)}
    return Receipt(**fields | sums | changes)


def opening_of(answer: str) -> Opening:
    """The exchange of an answer."""
    salt = Salt(digest("e"))
    return Opening(
        messages=(Message(role="user", content="Who keeps the harbour?"),),
        sampling=SamplingParams(max_tokens=9, seed=7),
        prefix="",
        text=answer,
        ids=(),
        salts=Salts(prompt=salt, output=salt, fingerprint=salt),
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
configs = st.builds(
    ChannelConfig, payer=addresses, authorizer=addresses, node=addresses, withdraw_delay_s=uints(64), salt=digests
)
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
spans = st.builds(ItemSpan, channel_id=digests, adapter_id=digests, authorizer=addresses, from_wei=weis, to_wei=weis)


WINDOWS = Windows(
    epoch_s=30, propose_s=31, window_s=10, redraw_blocks=16, slash_gap_s=60,
    unbonding_s=90, withdraw_delay_min_s=10, withdraw_delay_max_s=3_600, withdraw_period_s=604_800,
)  # fmt: skip


def claim_record(**changes: Any) -> ClaimRecord:
    """A claim of the node that pays nobody yet."""
    given: dict[str, Any] = {"node": NODE, "seq": 1, "epoch": 1, "claimed_at_s": 1, "claimed_block": 1}
    given |= {"items_root": digest("1"), "gross_wei": ZERO_WEI, "protocol_wei": ZERO_WEI}
    return ClaimRecord(**given | {"node_share_wei": ZERO_WEI, "credits": (), "pots": (), **changes})
