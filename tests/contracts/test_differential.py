"""Our arithmetic against the contracts', run on a chain: digests, claims, payouts and deadlines agree to the bit."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chain_world.contract_world import (
    ADAPTERS,
    DEPOSIT_WEI,
    OWNER_KEYS,
    PAYOUT,
    PROTOCOL,
    STRANGER_KEY,
    WITHDRAW_DELAY_S,
    ContractWorld,
    open_contract_world,
)
from support.depth import depth
from support.signed import NODE, NODE_KEY, PAYER, PAYER_KEY, SIGNER_KEY, account, configs, digest, uints

from openledger_node.chain.dev.constants import DEVELOPMENT_PARAMS, DEVELOPMENT_WINDOWS
from openledger_protocol.attribution import RowScore, shares_from_scores
from openledger_protocol.chain import TransactionReceipt
from openledger_protocol.claims import SkipCode, compute_claim
from openledger_protocol.eip712 import Domain, hex_digest
from openledger_protocol.epoch import epoch_at, is_claimable_epoch, propose_until_s, ready_at_s, withdrawal_s
from openledger_protocol.errors import ClaimRefusedError
from openledger_protocol.merkle import attribution_tree
from openledger_protocol.payments import (
    ChannelConfig,
    Permit,
    Refund,
    channel_id,
    permit_digest,
    refund_digest,
)
from openledger_protocol.payouts import (
    AttributedReceipt,
    Beneficiaries,
    Credited,
    attribution_leaves,
    late_amounts,
    payout_amounts,
    payouts_for,
)
from openledger_protocol.primitives import ZERO_DIGEST, Address, Wei
from openledger_protocol.settlement import (
    ClaimFor,
    Item,
    Part,
    Proposal,
    claim_digest,
    claim_for_digest,
    payouts_hash,
    proposal_digest,
    record_hash,
)
from openledger_protocol.signatures import address_of, sign_digest

FEW = settings(max_examples=depth(light=6, deep=1_000))
WINDOWS = DEVELOPMENT_WINDOWS


@pytest.fixture(scope="module")
def world() -> Iterator[ContractWorld]:
    world = open_contract_world()
    yield world
    world.chain.client.close()


def beneficiaries(world: ContractWorld, *, has_stakers: bool = True) -> Beneficiaries:
    treasuries = {id_: terms.treasury for id_, terms in world.datanets.items()}
    return Beneficiaries(node=PAYOUT, protocol=PROTOCOL, treasuries=treasuries, has_stakers=has_stakers)


def credited_in(world: ContractWorld, receipt: TransactionReceipt) -> list[tuple[Any, ...]]:
    events = [event for event in world.events_of(receipt, "AttributionRewards") if event.name == "Credited"]
    return [(e.arguments["account"], e.arguments["amount"], e.arguments["role"]) for e in events]


def told(credited: Sequence[Credited]) -> list[tuple[Any, ...]]:
    return [(credit.account, credit.amount_wei, int(credit.role)) for credit in credited]


# ---- digests


@given(config=configs)
def test_a_channels_id_is_the_contracts(world: ContractWorld, config: ChannelConfig) -> None:
    assert world.chain.read("PaymentChannels", "channelId", config) == channel_id(config, world.payments)


@pytest.mark.parametrize("name", ["PaymentChannels", "AttributionRewards"])
def test_a_domain_is_the_contracts(world: ContractWorld, name: str) -> None:
    domain = world.payments if name == "PaymentChannels" else world.rewards
    said = world.chain.read(name, "eip712Domain")
    assert (said["name"], said["version"], said["chainId"]) == (domain.name, domain.version, domain.chain_id)
    assert said["verifyingContract"] == domain.verifying_contract == world.chain.contracts[name]


def token_domain(world: ContractWorld) -> Domain:
    token = world.chain.contracts["OpenToken"]
    return token_domain(world.chain.client.chain_id(), token)


def test_the_tokens_domain_is_the_tokens(world: ContractWorld) -> None:
    said = world.chain.read("OpenToken", "DOMAIN_SEPARATOR")
    assert said == hex_digest(token_domain(world).separator)


def test_a_permit_of_ours_is_an_allowance(world: ContractWorld) -> None:
    permit = Permit(
        owner=PAYER,
        spender=account(0x77),
        value_wei=123,
        nonce=world.chain.read("OpenToken", "nonces", PAYER),
        deadline_s=world.now_s + 100,
    )
    signed = sign_digest(PAYER_KEY, permit_digest(permit, token_domain(world)))
    words = (
        permit.owner,
        permit.spender,
        permit.value_wei,
        permit.deadline_s,
        signed[64],
        signed[:32],
        signed[32:64],
    )
    world.must("OpenToken", "permit", *words, key=STRANGER_KEY)
    assert world.chain.read("OpenToken", "allowance", PAYER, account(0x77)) == 123


@pytest.mark.parametrize(("key", "is_taken"), [(NODE_KEY, True), (SIGNER_KEY, True), (PAYER_KEY, False)])
def test_a_refund_that_the_node_signed_may_be_sent_by_anybody(
    world: ContractWorld, key: bytes, is_taken: bool
) -> None:
    config = world.open()
    refund = Refund(channel_id=world.id_of(config), amount_wei=Wei(5), nonce=0)
    signature = sign_digest(key, refund_digest(refund, world.payments))
    sent = world.chain.send("PaymentChannels", "refund", config, 5, 0, signature, key=STRANGER_KEY)
    assert sent.is_ok == is_taken
    assert world.channel(config).deposit_wei == DEPOSIT_WEI - (5 if is_taken else 0)


@pytest.mark.parametrize(("key", "is_taken"), [(NODE_KEY, True), (SIGNER_KEY, True), (PAYER_KEY, False)])
def test_a_claim_and_a_proposal_that_the_node_signed_may_be_sent_by_anybody(
    world: ContractWorld, key: bytes, is_taken: bool
) -> None:
    items = [world.item([1_000])]
    claim = world.claim_of(items, ADAPTERS[:1])
    signature = sign_digest(key, claim_digest(claim, world.payments))
    sent = world.chain.send("PaymentChannels", "claim", claim, ADAPTERS[:1], items, signature, key=STRANGER_KEY)
    assert sent.is_ok == is_taken
    record = record_in(world, sent) if is_taken else world.claim(items, adapters=ADAPTERS[:1])[0]
    proposal = Proposal(
        node=NODE, seq=record.seq, attribution_root=ZERO_DIGEST, leaf_count=0, payouts_hash=payouts_hash([])
    )
    signature = sign_digest(key, proposal_digest(proposal, world.rewards))
    arguments = (record, ZERO_DIGEST, 0, [], signature)
    assert world.chain.send("AttributionRewards", "propose", *arguments, key=STRANGER_KEY).is_ok == is_taken


def record_in(world: ContractWorld, receipt: TransactionReceipt) -> Any:
    """The record as the contract says it, to be handed back to it."""
    [claimed] = [event for event in world.events_of(receipt, "PaymentChannels") if event.name == "Claimed"]
    return Said(claimed.arguments["record"])


class Said(dict[str, Any]):
    """A struct as a contract said it, with its seq at hand."""

    @property
    def seq(self) -> int:
        return int(self["seq"])


def test_a_withdrawal_that_its_account_signed_may_be_sent_by_anybody(world: ContractWorld) -> None:
    owner_key = OWNER_KEYS[2]
    record, _, _ = world.claim([world.item([0, 0, 0, 10**12])])
    world.finalize(record, [])
    owner, to = address_of(owner_key), account(0x78)
    amount = world.balance(owner)
    assert amount > 0
    claim = ClaimFor(account=owner, to=to, amount_wei=Wei(amount), nonce=0, deadline_s=world.now_s + 100)
    forged = sign_digest(STRANGER_KEY, claim_for_digest(claim, world.rewards))
    signed = sign_digest(owner_key, claim_for_digest(claim, world.rewards))
    world.must("AttributionRewards", "withdrawFor", [claim, claim], [forged, signed], key=STRANGER_KEY)
    assert world.chain.read("OpenToken", "balanceOf", to) == amount
    assert world.balance(owner) == 0


# ---- claims

FAULTS = [
    "none",
    "none",
    "none",
    "node",
    "from",
    "nothing",
    "voucher",
    "deposit",
    "parts",
    "order",
    "range",
    "signature",
    "form",
]


def spoiled(world: ContractWorld, sound: Item, fault: str) -> Item:
    """The same item, wrong in one way."""
    config, last = sound.config, sound.to_wei
    match fault:
        case "node":
            return replace(sound, config=replace(config, node=account(0x79)))
        case "from":
            return replace(sound, from_wei=Wei(sound.from_wei + 1))
        case "nothing":
            return replace(sound, to_wei=sound.from_wei, parts=())
        case "voucher":
            return replace(sound, max_claimable_wei=Wei(last - 1))
        case "deposit":
            over = DEPOSIT_WEI + 1
            signature = world.voucher(config, over).signature
            return replace(sound, to_wei=Wei(over), max_claimable_wei=Wei(over), signature=signature)
        case "parts":
            return replace(sound, parts=(*sound.parts[1:],))
        case "order":
            return replace(sound, parts=(*sound.parts, Part(adapter=0, amount_wei=Wei(0))))
        case "range":
            return replace(sound, parts=(*sound.parts, Part(adapter=len(ADAPTERS), amount_wei=Wei(0))))
        case "signature":
            return replace(sound, signature=world.voucher(config, last, key=PAYER_KEY).signature)
        case "form":
            return replace(sound, signature=sound.signature[:64] + b"\x00")
    return sound


amounts = st.lists(uints(60), min_size=4, max_size=4).filter(any)
faulty = st.lists(st.tuples(amounts, st.sampled_from(FAULTS)), min_size=1, max_size=6)


@FEW
@given(drawn=faulty)
def test_a_claims_record_is_the_contracts(world: ContractWorld, drawn: list[tuple[list[int], str]]) -> None:
    items = [spoiled(world, world.item(list(parts)), fault) for parts, fault in drawn]
    record, codes, receipt = world.claim(items)
    assert world.chain.read("PaymentChannels", "claimOf", NODE, record.seq) == record_hash(record)
    skipped = [e for e in world.events_of(receipt, "PaymentChannels") if e.name == "Skipped"]
    said = [(e.arguments["channelId"], e.arguments["code"]) for e in skipped]
    expected = [(world.id_of(entry.config), int(code)) for entry, code in zip(items, codes, strict=True) if code]
    assert said == expected
    counted = [(entry, code is None) for entry, code in zip(items, codes, strict=True)]
    assert all(
        (world.channel(entry.config).claimed_wei == entry.to_wei) == ok for entry, ok in counted if entry.to_wei
    )


@pytest.mark.parametrize("fault", sorted(set(FAULTS)))
def test_each_fault_is_told_by_the_same_code(world: ContractWorld, fault: str) -> None:
    record, codes, receipt = world.claim([spoiled(world, world.item([5, 7, 11, 13]), fault)])
    said = [e.arguments["code"] for e in world.events_of(receipt, "PaymentChannels") if e.name == "Skipped"]
    assert said == [int(code) for code in codes if code]
    assert bool(record.gross_wei) == (fault == "none")


def test_a_channel_claimed_in_steps_goes_on_where_it_was(world: ContractWorld) -> None:
    config = world.open()
    first, second = world.item([5, 7], config=config), world.item([3], start=12, config=config)
    record, codes, _ = world.claim([first, first, second])
    assert codes == [None, SkipCode.NOT_FROM_CLAIMED, None]
    assert world.chain.read("PaymentChannels", "claimOf", NODE, record.seq) == record_hash(record)
    later, codes, _ = world.claim([world.item([0, 0, 0, 4], start=15, config=config)])
    assert (later.seq, codes) == (record.seq + 1, [None])


@pytest.mark.parametrize("change", ["items_hash", "seq", "epoch", "early epoch", "adapters"])
def test_a_claim_that_we_refuse_is_refused_by_the_contract(world: ContractWorld, change: str) -> None:
    items = [world.item([5])]
    claim, adapters = world.claim_of(items), list(ADAPTERS)
    epoch = claim.epoch
    match change:
        case "items_hash":
            claim = replace(claim, items_hash=digest("1"))
        case "seq":
            claim = replace(claim, seq=claim.seq + 1)
        case "epoch":
            claim = replace(claim, epoch=epoch + 1)
        case "early epoch":
            claim = replace(claim, epoch=epoch - 2)
        case "adapters":
            adapters = adapters[::-1]
            claim = world.claim_of(items, adapters)
    sent = world.chain.send("PaymentChannels", "claim", claim, adapters, items, b"", key=SIGNER_KEY)
    assert not sent.is_ok


def test_an_adapter_whose_bond_is_free_is_claimed_by_neither() -> None:
    world = open_contract_world()
    world.must("ModelRegistry", "retire", ADAPTERS[1], key=OWNER_KEYS[2])
    until_s = world.now_s + DEVELOPMENT_WINDOWS.unbonding_s
    world.registry[ADAPTERS[1]] = replace(world.registry[ADAPTERS[1]], claimable_until_s=until_s)
    record, _, _ = world.claim([world.item([0, 5])])
    assert world.chain.read("PaymentChannels", "claimOf", NODE, record.seq) == record_hash(record)
    world.wait(DEVELOPMENT_WINDOWS.unbonding_s)
    items = [world.item([0, 5])]
    claim = world.claim_of(items)
    sent = world.chain.send("PaymentChannels", "claim", claim, ADAPTERS, items, b"", key=SIGNER_KEY)
    assert not sent.is_ok
    with pytest.raises(ClaimRefusedError, match="was retired, and its bond is free"):
        compute_claim(
            claim,
            ADAPTERS,
            items,
            skipped=0,
            claimed_at_s=until_s,
            params=world.params,
            registry=world.registry,
            datanets=world.datanets,
        )
    others = [ADAPTERS[0], *ADAPTERS[2:]]
    record, _, _ = world.claim([world.item([0, 5])], others)
    assert world.chain.read("PaymentChannels", "claimOf", NODE, record.seq) == record_hash(record)


# ---- payouts


def attributed(world: ContractWorld, record_items: Sequence[Item], scores: Sequence[int]) -> list[AttributedReceipt]:
    """A receipt for each part, its shares from these scores."""
    receipts = []
    for entry in record_items:
        for part in entry.parts:
            adapter = ADAPTERS[part.adapter]
            terms = world.registry.get(adapter)
            rows = [
                RowScore(cluster=cluster, account=account(0x100 + (cluster * 7 + len(receipts)) % 9), score=score)
                for cluster, score in enumerate(scores)
            ]
            names = [datanet for datanet, _ in terms.datanets] if terms else []
            shares = tuple(share for datanet in names for share in shares_from_scores(datanet, rows))
            receipts.append(
                AttributedReceipt(index=len(receipts), adapter_id=adapter, amount_wei=part.amount_wei, shares=shares)
            )
    return receipts


@FEW
@given(
    parts=st.lists(amounts, min_size=1, max_size=3),
    scores=st.lists(uints(16), max_size=12),
    unlisted=st.sampled_from([None, None, 0, 1]),
)
def test_a_final_claim_pays_what_we_compute(
    world: ContractWorld, parts: list[list[int]], scores: list[int], unlisted: int | None
) -> None:
    items = [world.item(list(row)) for row in parts]
    record, _, _ = world.claim(items)
    receipts = attributed(world, items, scores)
    leaves = attribution_leaves(record.pots, receipts)
    root = attribution_tree(leaves, node=NODE, claim_seq=record.seq).root
    payouts = [payout for payout in payouts_for(record.pots, receipts) if payout.pot != unlisted]
    expected = payout_amounts(record, payouts, beneficiaries(world))
    before = {credit.account: world.balance(credit.account) for credit in expected}
    receipt = world.finalize(record, payouts, leaves=len(leaves), root=root if payouts else "")
    assert credited_in(world, receipt) == told(expected)
    gained = {owner: world.balance(owner) - amount for owner, amount in before.items()}
    assert gained == sums(expected)
    assert_conserved(world)


def sums(credited: Sequence[Credited]) -> dict[Address, int]:
    totals: Counter[Address] = Counter()
    for credit in credited:
        totals[credit.account] += credit.amount_wei
    return dict(totals)


@FEW
@given(parts=amounts)
def test_a_late_claim_pays_what_we_compute(world: ContractWorld, parts: list[int]) -> None:
    record, _, _ = world.claim([world.item(list(parts))])
    world.wait(WINDOWS.propose_s + 1)
    receipt = world.must("AttributionRewards", "finalizeLate", record, key=STRANGER_KEY)
    assert credited_in(world, receipt) == told(late_amounts(record, beneficiaries(world)))
    assert_conserved(world)


def test_where_nobody_has_bonded_the_protocol_is_paid_the_stakers_part() -> None:
    world = open_contract_world()
    record, _, _ = world.claim([world.item([10**6])])
    world.must("NodeStaking", "unbond", DEVELOPMENT_PARAMS.min_stake_wei, key=NODE_KEY)
    receipt = world.finalize(record, [])
    expected = payout_amounts(record, [], beneficiaries(world, has_stakers=False))
    assert credited_in(world, receipt) == told(expected)
    world.chain.client.close()


def assert_conserved(world: ContractWorld) -> None:
    """Every wei that was paid in is somewhere, and is there once."""
    channels = world.chain.read("PaymentChannels", "totals")
    parts = ("refunded", "withdrawn", "escrowed", "live", "released")
    assert channels["paidIn"] == sum(channels[part] for part in parts)
    rewards = world.chain.read("AttributionRewards", "totals")
    assert channels["released"] == rewards["released"] == rewards["credited"] + rewards["notified"]
    token = {name: world.chain.read("OpenToken", "balanceOf", at) for name, at in world.chain.contracts.items()}
    assert token["PaymentChannels"] == channels["escrowed"] + channels["live"]
    assert token["AttributionRewards"] == rewards["credited"] - rewards["paidOut"]


# ---- time


@given(timestamp_s=st.integers(0, 2**40))
def test_an_epoch_is_the_contracts(world: ContractWorld, timestamp_s: int) -> None:
    assert world.chain.read("Params", "epochAt", timestamp_s) == epoch_at(timestamp_s, WINDOWS)


@pytest.mark.parametrize("age", [-1, 0, 1, 2])
def test_an_epoch_can_be_claimed_when_we_say_so(world: ContractWorld, age: int) -> None:
    items = [world.item([5])]
    claim = replace(world.claim_of(items), epoch=epoch_at(world.now_s + 1, WINDOWS) - age)
    sent = world.chain.send("PaymentChannels", "claim", claim, ADAPTERS, items, b"", key=SIGNER_KEY)
    assert sent.is_ok == is_claimable_epoch(claim.epoch, world.now_s, WINDOWS)


@pytest.mark.parametrize("late_s", [0, 1])
def test_the_last_second_of_a_proposal_is_ours(world: ContractWorld, late_s: int) -> None:
    record, _, _ = world.claim([world.item([5])])
    last_s = propose_until_s(record.claimed_at_s, WINDOWS)
    world.wait(last_s + late_s - 1 - world.now_s)
    sent = world.chain.send("AttributionRewards", "propose", record, ZERO_DIGEST, 0, [], b"", key=SIGNER_KEY)
    assert world.now_s == last_s + late_s
    assert sent.is_ok == (late_s == 0)
    late = world.chain.send("AttributionRewards", "finalizeLate", record, key=STRANGER_KEY)
    assert late.is_ok == (late_s == 1)


@pytest.mark.parametrize("early_s", [1, 0])
def test_the_first_second_of_finality_is_ours(world: ContractWorld, early_s: int) -> None:
    record, _, _ = world.claim([world.item([5])])
    world.propose(record, [])
    first_s = ready_at_s(world.now_s, WINDOWS)
    world.wait(first_s - early_s - 1 - world.now_s)
    sent = world.chain.send("AttributionRewards", "finalize", record, [], key=STRANGER_KEY)
    assert world.now_s == first_s - early_s
    assert sent.is_ok == (early_s == 0)


@pytest.mark.parametrize(("edge", "shift_s", "is_taken"), [(0, -1, False), (0, 0, True), (1, 0, True), (1, 1, False)])
def test_the_edges_of_a_withdrawal_are_ours(world: ContractWorld, edge: int, shift_s: int, is_taken: bool) -> None:
    config = world.open()
    world.must("PaymentChannels", "startWithdraw", config, 7, key=PAYER_KEY)
    at_s = withdrawal_s(world.now_s, WITHDRAW_DELAY_S, WINDOWS)[edge] + shift_s
    world.wait(at_s - 1 - world.now_s)
    sent = world.chain.send("PaymentChannels", "finishWithdraw", config, key=PAYER_KEY)
    assert world.now_s == at_s
    assert sent.is_ok == is_taken
