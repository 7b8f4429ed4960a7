"""Our digests and claims against the contracts', run on a chain: they agree to the bit."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chain_world.contract_world import (
    ADAPTERS,
    DEPOSIT_WEI,
    OWNER_KEYS,
    STRANGER_KEY,
    ContractWorld,
    open_contract_world,
)
from support.signed import AUTHORIZER_KEY, NODE, NODE_KEY, PAYER, PAYER_KEY, SIGNER_KEY, account, configs, digest
from support.tiers import depth

from openledger_node.chain.dev.constants import DEVELOPMENT_WINDOWS
from openledger_protocol.chain import TransactionReceipt
from openledger_protocol.claims import SkipCode, compute_claim
from openledger_protocol.eip712 import hex_digest, staking_domain, token_domain
from openledger_protocol.errors import ClaimRefusedError
from openledger_protocol.payments import ChannelConfig, Permit, Refund, channel_id, permit_digest, refund_digest
from openledger_protocol.primitives import AdapterId, Address, Wei
from openledger_protocol.settlement import (
    EpochClaim,
    Item,
    claim_digest,
    record_hash,
    signer_consent_digest,
)
from openledger_protocol.signatures import address_of, sign_digest

FEW = settings(max_examples=depth(light=4, deep=1_000))
WINDOWS = DEVELOPMENT_WINDOWS


# ---- digests


@FEW
@given(config=configs)
def test_a_channels_id_is_the_contracts(world: ContractWorld, config: ChannelConfig) -> None:
    assert world.chain.read("PaymentChannels", "channelId", config) == channel_id(config, world.payments)


def test_a_domain_is_the_contracts_and_the_tokens_its_own(world: ContractWorld) -> None:
    said, domain = world.chain.read("PaymentChannels", "eip712Domain"), world.payments
    assert (said["name"], said["version"], said["chainId"]) == (domain.name, domain.version, domain.chain_id)
    assert said["verifyingContract"] == domain.verifying_contract == world.chain.contracts["PaymentChannels"]
    token = token_domain(world.chain.client.chain_id(), world.chain.contracts["OpenToken"])
    assert world.chain.read("OpenToken", "DOMAIN_SEPARATOR") == hex_digest(token.separator)


def test_a_permit_of_ours_is_an_allowance(world: ContractWorld) -> None:
    permit = Permit(
        owner=PAYER,
        spender=account(0x77),
        value_wei=123,
        nonce=world.chain.read("OpenToken", "nonces", PAYER),
        deadline_s=world.now_s + 100,
    )
    token = token_domain(world.chain.client.chain_id(), world.chain.contracts["OpenToken"])
    signed = sign_digest(PAYER_KEY, permit_digest(permit, token))
    words = (PAYER, permit.spender, permit.value_wei, permit.deadline_s, signed[64], signed[:32], signed[32:64])
    world.must("OpenToken", "permit", *words, key=STRANGER_KEY)
    assert world.chain.read("OpenToken", "allowance", PAYER, account(0x77)) == 123


# Who may sign and send what is in the contracts' own tests. Here a signature of ours is one for them.


def test_a_refund_that_the_node_signed_may_be_sent_by_anybody(world: ContractWorld) -> None:
    config = world.open()
    refund = Refund(channel_id=world.id_of(config), amount_wei=Wei(5), nonce=0)
    signature = sign_digest(SIGNER_KEY, refund_digest(refund, world.payments))
    world.must("PaymentChannels", "refund", config, 5, 0, signature, key=STRANGER_KEY)
    assert world.channel(config).deposit_wei == DEPOSIT_WEI - 5


def test_a_claim_that_the_node_signed_may_be_sent_by_anybody(world: ContractWorld) -> None:
    items = [world.item(1_000)]
    claim = world.claim_of(items)
    signature = sign_digest(SIGNER_KEY, claim_digest(claim, world.payments))
    world.must("PaymentChannels", "claim", claim, ADAPTERS, items, signature, key=STRANGER_KEY)


@pytest.mark.parametrize(("node", "error"), [(NODE, ""), (PAYER, "NoConsent")])
def test_a_hot_keys_consent_is_what_it_signed(world: ContractWorld, node: Address, error: str) -> None:
    staking = staking_domain(world.chain.client.chain_id(), world.chain.contracts["NodeStaking"])
    deadline_s = world.now_s + 50
    consent = sign_digest(STRANGER_KEY, signer_consent_digest(node, deadline_s, staking))
    arguments = (address_of(STRANGER_KEY), deadline_s, consent)
    assert world.chain.error_of("NodeStaking", "setSigner", *arguments, key=NODE_KEY) == error


def test_a_balance_is_paid_by_anybody_to_where_its_account_wants_it(world: ContractWorld) -> None:
    to = account(0x78)
    record, _, _ = world.claim([world.item(10**17, adapter=0)])
    world.propose(record, [])
    world.wait(WINDOWS.window_s)
    world.finalize(record, [])
    amount = world.balance(NODE)
    world.must("AttributionRewards", "setPayout", to, False, key=NODE_KEY)
    world.must("AttributionRewards", "withdraw", [NODE], key=STRANGER_KEY)
    assert world.chain.read("OpenToken", "balanceOf", to) == amount > 0
    assert world.balance(NODE) == 0


# ---- claims


def mirrored(world: ContractWorld, item: Item) -> Item:
    """The other signature of the same key over the same digest, which anybody can compute."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    r, s, v = item.signature[:32], int.from_bytes(item.signature[32:64], "big"), item.signature[64]
    return replace(item, signature=r + (order - s).to_bytes(32, "big") + bytes([55 - v]))


def voucher_for(
    world: ContractWorld, item: Item, max_wei: int, *, adapter: int | None = None, key: bytes = AUTHORIZER_KEY
) -> Item:
    adapter_id = ADAPTERS[item.adapter if adapter is None else adapter]
    signed = world.voucher(item.config, max_wei, adapter_id=adapter_id, key=key)
    return replace(item, max_claimable_wei=Wei(max_wei), signature=signed.signature)


FAULTS: dict[str, Any] = {
    "none": lambda _, item: item,
    "of another node": lambda _, item: replace(item, config=replace(item.config, node=account(0x79))),
    "of no open channel": lambda world, item: voucher_for(
        world, replace(item, config=world.new_config(), from_wei=Wei(0)), item.to_wei
    ),
    "not from what was claimed": lambda _, item: replace(item, from_wei=Wei(item.from_wei + 1)),
    "nothing": lambda _, item: replace(item, to_wei=item.from_wei),
    "backwards": lambda _, item: replace(item, to_wei=Wei(max(item.from_wei - 1, 0))),
    "over the voucher": lambda _, item: replace(item, max_claimable_wei=Wei(item.to_wei - 1)),
    "over the deposit": lambda world, item: voucher_for(
        world, replace(item, to_wei=Wei(item.from_wei + DEPOSIT_WEI + 1)), item.from_wei + DEPOSIT_WEI + 1
    ),
    "under another's voucher": lambda world, item: voucher_for(world, item, item.to_wei, key=PAYER_KEY),
    "under a voucher for another adapter": lambda world, item: voucher_for(
        world, item, item.to_wei, adapter=item.adapter ^ 1
    ),
    "under a voucher for another ceiling": lambda _, item: replace(item, max_claimable_wei=Wei(item.to_wei + 1)),
    "under a mirrored signature": mirrored,
    "under no signature": lambda _, item: replace(item, signature=b""),
    "under a signature that is cut off": lambda _, item: replace(item, signature=item.signature[:64]),
    "under a signature of another form": lambda _, item: replace(item, signature=item.signature[:64] + b"\x00"),
}
"""Each makes an item wrong in one way."""

CODES = {
    "none": None,
    "of another node": SkipCode.OTHER_NODE,
    "of no open channel": SkipCode.OVER_DEPOSIT,
    "not from what was claimed": SkipCode.NOT_FROM_CLAIMED,
    "nothing": SkipCode.NOTHING_NEW,
    "backwards": SkipCode.NOTHING_NEW,
    "over the voucher": SkipCode.OVER_VOUCHER,
    "over the deposit": SkipCode.OVER_DEPOSIT,
}


def skipped_in(world: ContractWorld, receipt: TransactionReceipt) -> list[tuple[Any, ...]]:
    events = [event for event in world.events_of(receipt, "PaymentChannels") if event.name == "Skipped"]
    return [(e.arguments["channelId"], e.arguments["adapterId"], e.arguments["code"]) for e in events]


def told(world: ContractWorld, items: Sequence[Item], codes: Sequence[SkipCode | None]) -> list[tuple[Any, ...]]:
    """The skipped items as the contract's events would say it."""
    pairs = zip(items, codes, strict=True)
    return [(world.id_of(item.config), ADAPTERS[item.adapter], int(code)) for item, code in pairs if code]


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_told_by_the_same_code(world: ContractWorld, fault: str) -> None:
    config = world.open()
    world.claim([world.item(5, config=config, adapter=1)])
    bad = FAULTS[fault](world, world.item(7, config=config, adapter=1, start=5))
    items = [bad, world.item(11, adapter=2)]
    record, codes, receipt = world.claim(items)
    assert codes == [CODES.get(fault, SkipCode.BAD_VOUCHER), None]
    assert skipped_in(world, receipt) == told(world, items, codes)
    assert record.gross_wei == (18 if fault == "none" else 11)
    assert world.chain.read("PaymentChannels", "claimOf", NODE, record.seq) == record_hash(record)


drawn_items = st.tuples(
    st.integers(0, 1),  # the channel
    st.integers(0, len(ADAPTERS) - 1),
    st.one_of(st.integers(1, 10**6), st.integers(1, DEPOSIT_WEI)),  # so that the deposit does not suffice for all
    st.sampled_from(["none", "none", "none", *FAULTS]),
)


@FEW
@given(drawn=st.lists(drawn_items, min_size=1, max_size=8))
def test_a_claims_record_is_the_contracts(world: ContractWorld, drawn: list[tuple[int, int, int, str]]) -> None:
    opened = [world.open(), world.open()]
    lanes: dict[tuple[int, int], int] = {}
    items = []
    for channel, adapter, amount, fault in sorted(drawn, key=lambda row: row[1]):
        start = lanes.get((channel, adapter), 0)
        item = world.item(amount, adapter=adapter, start=start, config=opened[channel])
        items.append(FAULTS[fault](world, item))
        lanes[channel, adapter] = start + amount
    items.append(world.item(1, adapter=len(ADAPTERS) - 1))  # so that something counts
    record, codes, receipt = world.claim(items)
    assert world.chain.read("PaymentChannels", "claimOf", NODE, record.seq) == record_hash(record)
    assert skipped_in(world, receipt) == told(world, items, codes)
    for config in opened:
        balance = world.channel(config)
        paid = [i for i, code in zip(items, codes, strict=True) if code is None and i.config == config]
        assert balance.claimed_wei == sum(balance.lanes.values()) == sum(item.amount_wei for item in paid)


def test_lanes_of_a_channel_share_its_deposit(world: ContractWorld) -> None:
    config, half = world.open(), DEPOSIT_WEI // 2
    amounts = (half, half, 1)
    items = [world.item(amount, adapter=adapter, config=config) for adapter, amount in enumerate(amounts)]
    record, codes, _ = world.claim(items)
    assert codes == [None, None, SkipCode.OVER_DEPOSIT]
    assert world.chain.read("PaymentChannels", "claimOf", NODE, record.seq) == record_hash(record)
    assert world.channel(config).claimed_wei == DEPOSIT_WEI


def test_a_lane_claimed_in_steps_goes_on_where_it_was(world: ContractWorld) -> None:
    config = world.open()
    first, second = world.item(12, config=config), world.item(3, start=12, config=config)
    record, codes, _ = world.claim([first, first, second])
    assert codes == [None, SkipCode.NOT_FROM_CLAIMED, None]
    assert world.chain.read("PaymentChannels", "claimOf", NODE, record.seq) == record_hash(record)
    later, codes, _ = world.claim([world.item(4, start=15, config=config), world.item(4, adapter=3, config=config)])
    assert (later.seq, codes) == (record.seq + 1, [None, None])
    assert list(world.channel(config).lanes.values()) == [19, 0, 0, 4]


def test_an_adapter_whose_bond_is_free_is_claimed_by_neither() -> None:
    world = open_contract_world()
    world.must("ModelRegistry", "retire", ADAPTERS[1], key=OWNER_KEYS[2])
    until_s = world.now_s + DEVELOPMENT_WINDOWS.unbonding_s
    world.registry[ADAPTERS[1]] = replace(world.registry[ADAPTERS[1]], claimable_until_s=until_s)
    record, _, _ = world.claim([world.item(5, adapter=1)])
    assert world.chain.read("PaymentChannels", "claimOf", NODE, record.seq) == record_hash(record)
    world.wait(DEVELOPMENT_WINDOWS.unbonding_s)
    items = [world.item(5, adapter=1)]
    claim = world.claim_of(items)
    sent = world.chain.send("PaymentChannels", "claim", claim, ADAPTERS, items, b"", key=SIGNER_KEY)
    assert not sent.is_ok
    with pytest.raises(ClaimRefusedError, match="was retired, and its bond is free"):
        computed(world, claim, ADAPTERS, items, [None], claimed_at_s=until_s)
    others = [ADAPTERS[0], *ADAPTERS[2:]]
    record, _, _ = world.claim([world.item(5, adapter=1, adapters=others)], others)
    assert world.chain.read("PaymentChannels", "claimOf", NODE, record.seq) == record_hash(record)


def test_each_adapters_money_begins_where_the_money_before_it_ends(world: ContractWorld) -> None:
    items = [world.item(amount, adapter=adapter) for adapter, amount in [(0, 7), (1, 10), (1, 20), (2, 40)]]
    items[1] = FAULTS["under no signature"](world, items[1])
    record, _, _ = world.claim(items)
    assert [pot.start_wei for pot in record.pots] == [7, 7, 27]
    assert world.chain.read("PaymentChannels", "claimOf", NODE, record.seq) == record_hash(record)


UNKNOWN = AdapterId(digest("d"))


def begin_epoch(world: ContractWorld) -> None:
    """Errors are those of the newest block, and a claim is of the next one's epoch: let it be the same epoch."""
    world.wait(WINDOWS.epoch_s - world.now_s % WINDOWS.epoch_s)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("items hash", "ItemsMismatch"),
        ("adapters", "AdaptersNotAscending"),
        ("order of items", "ItemsNotAscending"),
        ("no such adapter", "AdapterNotNamed"),
        ("unregistered", "UnknownAdapter"),
        ("nothing counts", "NothingClaimed"),
    ],
)
def test_a_claim_that_we_refuse_is_refused_by_the_contract(world: ContractWorld, change: str, error: str) -> None:
    begin_epoch(world)
    adapters = list(ADAPTERS)
    items = [world.item(5), world.item(5, adapter=1)]
    match change:
        case "adapters":
            adapters = [*ADAPTERS[:2], *ADAPTERS[:1:-1]]
        case "order of items":
            items = items[::-1]
        case "unregistered":
            adapters = [*ADAPTERS, UNKNOWN]
        case "nothing counts":
            items = [FAULTS["under no signature"](world, item) for item in items]
    claim = world.claim_of(items, adapters)
    if change == "items hash":
        claim = replace(claim, items_hash=digest("1"))
    if change == "no such adapter":
        items[-1] = replace(items[-1], adapter=len(adapters))
    codes = [SkipCode.BAD_VOUCHER if change == "nothing counts" else None for _ in items]
    with pytest.raises(ClaimRefusedError):
        computed(world, claim, adapters, items, codes, claimed_at_s=world.now_s)
    assert world.chain.error_of("PaymentChannels", "claim", claim, adapters, items, b"", key=SIGNER_KEY) == error


def computed(
    world: ContractWorld,
    claim: EpochClaim,
    adapters: Sequence[AdapterId],
    items: Sequence[Item],
    codes: Sequence[SkipCode | None],
    *,
    claimed_at_s: int,
) -> None:
    compute_claim(
        claim,
        adapters,
        items,
        domain=world.payments,
        codes=codes,
        claimed_at_s=claimed_at_s,
        claimed_block=1,
        params=world.params,
        registry=world.registry,
        datanets=world.datanets,
    )
