"""The outbox over a chain that drops, doubles, refuses, reorganises and falls silent."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from support.scripted_chain import CHAIN_ID, GAS, TIP, ScriptedChain

from openledger_node.chain.delivery import FAIL_POINTS
from openledger_node.chain.outbox import Outbox
from openledger_node.chain.watcher import Seen
from openledger_node.errors import ChainError, KeyFileError
from openledger_node.ledger.ledger import Ledger
from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import Address, Wei
from openledger_protocol.signatures import address_of, sign_digest
from openledger_protocol.transactions import Intent, OutboxLimits, Transaction, TransactionState

KEYS = {address_of(key): key for key in (bytes([number]) * 32 for number in (1, 2))}
ADA, BEN = KEYS
CONTRACT = Address("0x" + "c" * 40)
LIMITS = OutboxLimits(bump_after_blocks=3, bump_after_s=3)
GAS_LIMIT = GAS + GAS // 4


def intent(data: str, **changes: Any) -> Intent:
    plain = Intent(
        key=data,
        kind="claim",
        summary=data,
        sender=ADA,
        call=ContractCall(to=CONTRACT, data=data.encode()),
        deadline_s=None,
    )
    return replace(plain, **changes)


def open_outbox(chain: ScriptedChain, ledger: Ledger, **changes: Any) -> Outbox:
    settings: dict[str, Any] = {
        "client": chain,
        "journal": ledger.outbox,
        "chain_id": CHAIN_ID,
        "senders": KEYS,
        "sign": lambda sender, digest: sign_digest(KEYS[sender], digest),
        "limits": LIMITS,
    }
    return Outbox(**{**settings, **changes})


@pytest.fixture
def outbox(chain: ScriptedChain, ledger: Ledger) -> Outbox:
    return open_outbox(chain, ledger)


def want(ledger: Ledger, *data: str, **changes: Any) -> None:
    for one in data:
        ledger.outbox.add(intent(one, **changes))


def row(ledger: Ledger, key: str) -> Transaction:
    found = ledger.outbox.find(key)
    assert found is not None
    return found


def states(ledger: Ledger) -> dict[str, TransactionState]:
    return {found.intent.key: found.state for found in reversed(ledger.outbox.newest(limit=1_000))}


def settle(chain: ScriptedChain, outbox: Outbox, *, blocks: int = 6) -> None:
    for _ in range(blocks):
        outbox.step()
        chain.mine()
    outbox.step()


# ---- the way of a transaction


def test_an_intent_is_sent_then_mined_then_final(chain: ScriptedChain, ledger: Ledger, outbox: Outbox) -> None:
    want(ledger, "a")
    assert outbox.step()
    assert states(ledger) == {"a": "sent"}
    chain.mine()
    assert outbox.step()
    assert states(ledger) == {"a": "mined"}
    assert not outbox.step()
    chain.mine(2)
    outbox.step()
    found = row(ledger, "a")
    assert (found.state, found.nonce, found.block_number, found.gas_used) == ("final", 0, 1, GAS)
    assert found.fee_wei == GAS * (100 + TIP)
    assert found.mined_s == chain.chain[1].block.timestamp_s
    assert chain.mined_calls() == [b"a"]


def test_whoever_has_nothing_to_send_asks_for_no_fees_and_hears_that_the_chain_is_down(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    outbox.step()
    assert (chain.asked["head"], chain.asked["fees"], chain.asked["finalized_number"]) == (1, 0, 0)
    chain.is_down = True
    outbox.step()
    assert outbox.state.health == "down"


def test_several_are_on_their_way_at_once_in_the_order_of_their_nonces(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    want(ledger, *"abc")
    want(ledger, "d", sender=BEN)
    outbox.step()
    chain.mine()
    assert chain.mined_calls(ADA) == [b"a", b"b", b"c"]
    assert (chain.nonces(ADA), chain.nonces(BEN)) == ([0, 1, 2], [0])


def test_no_more_are_on_their_way_than_an_endpoint_holds(chain: ScriptedChain, ledger: Ledger) -> None:
    outbox = open_outbox(chain, ledger, limits=replace(LIMITS, in_flight_max=2))
    want(ledger, *"abcde")
    outbox.step()
    assert len(chain.pool) == 2
    settle(chain, outbox)
    assert chain.mined_calls() == [b"a", b"b", b"c", b"d", b"e"]


def test_what_a_reorg_brings_back_leaves_no_room_for_more(chain: ScriptedChain, ledger: Ledger) -> None:
    outbox = open_outbox(chain, ledger, limits=replace(LIMITS, in_flight_max=2))
    chain.finality_depth = 10
    want(ledger, *"abcdefg")
    settle(chain, outbox, blocks=2)
    chain.reorganise(2)
    outbox.step()
    assert len(chain.pool) == 6
    assert states(ledger)["g"] == "intended"


def test_the_first_price_is_twice_the_base_fee_and_the_tip(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    want(ledger, "a")
    outbox.step()
    (sent,) = chain.pool.values()
    assert (sent.fee_max_wei, sent.tip_max_wei, sent.gas_limit) == (210, TIP, GAS_LIMIT)


def test_only_its_own_senders_rows_are_touched(chain: ScriptedChain, ledger: Ledger) -> None:
    want(ledger, "a")
    want(ledger, "b", sender=BEN)
    settle(chain, open_outbox(chain, ledger, senders={BEN}))
    assert states(ledger) == {"a": "intended", "b": "final"}


def test_a_key_that_cannot_be_opened_holds_up_its_own_sender_only(chain: ScriptedChain, ledger: Ledger) -> None:
    def sign(sender: Address, digest: bytes) -> bytes:
        if sender == ADA:
            raise KeyFileError("the wallet is locked: unlock it")
        return sign_digest(KEYS[sender], digest)

    outbox = open_outbox(chain, ledger, sign=sign)
    want(ledger, *"ab")
    want(ledger, "c", sender=BEN)
    settle(chain, outbox)
    assert states(ledger) == {"a": "reserved", "b": "intended", "c": "final"}
    assert outbox.alerts == ("a: the wallet is locked: unlock it",)
    settle(chain, open_outbox(chain, ledger))
    assert chain.nonces(ADA) == [0, 1]


# ---- what is refused before it costs anything


def test_what_the_contract_would_refuse_is_refused_without_a_nonce(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    chain.refusing.add(b"a")
    want(ledger, *"ab")
    settle(chain, outbox)
    assert (row(ledger, "a").state, row(ledger, "a").nonce, row(ledger, "a").error) == ("refused", None, "refused a")
    assert (row(ledger, "b").state, row(ledger, "b").nonce) == ("final", 0)


def test_what_waits_for_an_earlier_one_is_not_refused(chain: ScriptedChain, ledger: Ledger, outbox: Outbox) -> None:
    chain.refusing.add(b"bond")
    want(ledger, "approve", "bond")
    outbox.step()
    assert states(ledger) == {"approve": "sent", "bond": "intended"}
    chain.refusing.clear()
    settle(chain, outbox)
    assert chain.mined_calls() == [b"approve", b"bond"]


def test_what_still_fails_once_nothing_is_before_it_is_refused(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    chain.refusing.add(b"bond")
    want(ledger, "approve", "bond")
    settle(chain, outbox)
    assert states(ledger) == {"approve": "final", "bond": "refused"}


# ---- endpoints that lose, double and refuse


def test_a_transaction_that_the_endpoint_forgot_is_sent_again_as_it_was(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    want(ledger, *"ab")
    outbox.step()
    before = set(chain.pool)
    chain.lose_pool()
    outbox.step()
    assert set(chain.pool) == before
    chain.num_to_drop = 1
    chain.lose_pool()
    settle(chain, outbox)
    assert chain.mined_calls() == [b"a", b"b"]
    assert chain.nonces(ADA) == [0, 1]


def test_no_coin_holds_up_the_sender_and_says_so(chain: ScriptedChain, ledger: Ledger, outbox: Outbox) -> None:
    chain.poor.add(ADA)
    want(ledger, *"ab")
    want(ledger, "c", sender=BEN)
    settle(chain, outbox)
    assert states(ledger) == {"a": "signed", "b": "intended", "c": "final"}
    assert list(outbox.alerts) == [f"a: {ADA} has too few coins for gas: send some to it"]
    chain.poor.clear()
    settle(chain, outbox)
    assert list(outbox.alerts) == []
    assert chain.nonces(ADA) == [0, 1]


@pytest.mark.parametrize("refusal", ["known", "nonce_too_low", "other", "no_funds"])
def test_an_endpoint_that_refuses_for_no_reason_delays_and_nothing_more(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox, refusal: Any
) -> None:
    chain.refusals.extend([refusal] * 3)
    want(ledger, *"abc")
    settle(chain, outbox, blocks=10)
    assert chain.mined_calls() == [b"a", b"b", b"c"]
    assert chain.nonces(ADA) == [0, 1, 2]


def test_a_nonce_that_another_program_took_is_given_up_once_that_is_final(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    want(ledger, *"ab")
    outbox.step()
    chain.lose_pool()
    chain.take_nonce(ADA)
    outbox.step()
    assert states(ledger) == {"a": "sent", "b": "sent"}
    settle(chain, outbox)
    assert states(ledger) == {"a": "final", "b": "final"}
    assert chain.nonces(ADA) == [0, 1, 2]
    assert sorted(chain.mined_calls()) == [b"", b"a", b"b"]


def test_a_wallet_that_has_been_used_before_goes_on_from_there(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    for _ in range(3):
        chain.take_nonce(ADA)
    want(ledger, "a")
    settle(chain, outbox)
    assert row(ledger, "a").nonce == 3


# ---- prices


def test_a_stuck_one_is_made_dearer_under_the_same_nonce(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    want(ledger, *"ab")
    outbox.step()
    chain.base_wei = 1_000
    chain.mine(2)
    outbox.step()
    assert [sent.fee_max_wei for sent in chain.pool.values()] == [210, 210]
    settle(chain, outbox, blocks=12)
    assert chain.mined_calls() == [b"a", b"b"]
    assert chain.nonces(ADA) == [0, 1]
    for key in "ab":
        prices = [variant.price for variant in row(ledger, key).variants]
        assert len(prices) == 2
        for before, after in pairwise(prices):
            assert after.fee_max_wei * 8 >= before.fee_max_wei * 9
            assert after.tip_max_wei * 8 >= before.tip_max_wei * 9


def test_a_pool_that_wants_more_is_given_more_at_once(chain: ScriptedChain, ledger: Ledger, outbox: Outbox) -> None:
    chain.refusals.append("underpriced")
    want(ledger, "a")
    outbox.step()
    assert [sent.fee_max_wei for sent in chain.pool.values()] == [237]
    assert len(row(ledger, "a").variants) == 2
    settle(chain, outbox)
    assert row(ledger, "a").mined_hash == row(ledger, "a").variants[1].hash


def test_the_cheaper_variant_may_be_the_one_that_is_mined(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    want(ledger, "a")
    outbox.step()
    (cheap,) = chain.pool.values()
    chain.base_wei = 1_000
    chain.mine(4)
    outbox.step()
    chain.pool = {cheap.hash: cheap}
    chain.base_wei = 100
    chain.mine()
    settle(chain, outbox)
    assert row(ledger, "a").state == "final"
    assert row(ledger, "a").mined_hash == cheap.hash
    assert chain.mined_calls() == [b"a"]


def test_a_price_never_goes_over_its_cap_and_the_operator_hears_of_it(chain: ScriptedChain, ledger: Ledger) -> None:
    outbox = open_outbox(chain, ledger, limits=replace(LIMITS, fee_max_wei=Wei(250 * GAS_LIMIT)))
    want(ledger, "a")
    outbox.step()
    chain.base_wei = 1_000
    for _ in range(30):
        chain.mine()
        outbox.step()
    assert max(variant.price.fee_max_wei for variant in row(ledger, "a").variants) <= 250
    assert "raise [chain] fee_max_wei" in outbox.alerts[0]
    want(ledger, "b")
    outbox.step()
    assert row(ledger, "b").state == "intended"


def test_a_tenth_of_what_is_at_risk_may_be_paid(chain: ScriptedChain, ledger: Ledger) -> None:
    outbox = open_outbox(chain, ledger, limits=replace(LIMITS, fee_max_wei=Wei(1)))
    want(ledger, "a", value_at_risk_wei=Wei(10 * 110 * GAS_LIMIT))
    want(ledger, "b", value_at_risk_wei=Wei(10 * 110 * GAS_LIMIT - 10))
    settle(chain, outbox)
    assert states(ledger) == {"a": "final", "b": "intended"}


def test_the_days_gas_budget_holds_but_for_what_has_a_deadline(chain: ScriptedChain, ledger: Ledger) -> None:
    budget = Wei(2 * 210 * GAS_LIMIT)
    outbox = open_outbox(chain, ledger, limits=replace(LIMITS, gas_budget_wei=budget))
    want(ledger, *"abc")
    want(ledger, "d", deadline_s=1)
    outbox.step()
    assert states(ledger) == {"a": "sent", "b": "sent", "c": "intended", "d": "sent"}
    assert outbox.alerts == ("c: today's gas budget is used up: wait, or raise [chain] gas_budget_wei",)
    settle(chain, outbox)
    want(ledger, "e")
    settle(chain, outbox)
    assert states(ledger) == {"a": "final", "b": "final", "c": "intended", "d": "final", "e": "intended"}
    chain.block_time_s = 86_400
    settle(chain, outbox)
    assert set(states(ledger).values()) == {"final"}


# ---- what is refused after the gas is paid


def test_a_revert_is_told_with_the_contracts_reason_and_fails_when_final(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    chain.refusing_mined.add(b"a")
    want(ledger, "a")
    outbox.step()
    chain.mine()
    outbox.step()
    assert (row(ledger, "a").state, row(ledger, "a").error) == ("reverted", "refused a")
    settle(chain, outbox)
    assert row(ledger, "a").state == "failed"


def test_three_paid_failures_stop_their_kind_and_no_other(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    chain.refusing_mined |= {b"a", b"b", b"c"}
    want(ledger, *"abc")
    settle(chain, outbox)
    want(ledger, "d")
    want(ledger, "e", kind="propose")
    settle(chain, outbox)
    assert states(ledger) == {"a": "failed", "b": "failed", "c": "failed", "d": "intended", "e": "final"}
    (alert,) = outbox.alerts
    assert alert.startswith("d: 3 claim transactions were reverted after their gas was paid: no more are sent until")
    assert "network forgive 'claim'" in alert


def test_a_success_between_failures_starts_the_count_anew(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    chain.refusing_mined |= {b"a", b"b", b"d", b"e"}
    for data in "abcdef":
        want(ledger, data)
        settle(chain, outbox)
    assert row(ledger, "f").state == "final"


def test_a_kind_that_is_forgiven_goes_on(chain: ScriptedChain, ledger: Ledger, outbox: Outbox) -> None:
    chain.refusing_mined |= {b"a", b"b", b"c"}
    want(ledger, *"abcd")
    settle(chain, outbox)
    assert (ledger.outbox.forgive("propose"), ledger.outbox.forgive("claim"), ledger.outbox.forgive("claim")) == (
        0,
        3,
        0,
    )
    settle(chain, outbox)
    assert row(ledger, "d").state == "final"


def test_failures_whose_goal_somebody_else_has_reached_stop_nothing(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    chain.refusing_mined |= {b"a", b"b", b"c"}
    for data in "abcd":
        want(ledger, data)
        settle(chain, outbox)
        ledger.outbox.forgive_reached(data)
    assert row(ledger, "d").state == "final"


# ---- wrong nonces


@pytest.mark.parametrize("lie", [1, 16])
def test_a_wrong_nonce_that_an_endpoint_once_told_is_mended_without_a_second_signature(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox, lie: int
) -> None:
    chain.nonce_lie = lie
    want(ledger, *"ab")
    outbox.step()
    assert [row(ledger, key).nonce for key in "ab"] == [lie, lie + 1]
    chain.nonce_lie = 0
    settle(chain, outbox, blocks=10)
    assert any("nothing of ours has nonce 0, which the chain expects next" in alert for alert in outbox.alerts)
    assert chain.mined_calls() == []
    want(ledger, *"cd")
    settle(chain, outbox, blocks=100)
    assert chain.mined_calls() == [b""] * lie + [b"a", b"b", b"c", b"d"]
    assert chain.nonces(ADA) == list(range(lie + 4))
    assert outbox.alerts == ()
    assert set(states(ledger).values()) == {"final"}


@pytest.mark.parametrize("lie", [17, 1_000])
def test_behind_a_nonce_that_is_far_too_high_nothing_waits_for_ever(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox, lie: int
) -> None:
    chain.nonce_lie = lie
    want(ledger, *"ab")
    outbox.step()
    chain.nonce_lie = 0
    want(ledger, *"cd")
    settle(chain, outbox, blocks=10)
    assert [row(ledger, key).nonce for key in "abcd"] == [lie, lie + 1, None, None]
    settle(chain, outbox, blocks=100)
    assert chain.mined_calls() == [b"a", b"b", b"c", b"d"]
    assert chain.nonces(ADA) == [0, 1, 2, 3]
    more = [f"more {number}" for number in range(20)]
    want(ledger, *more)
    settle(chain, outbox, blocks=30)
    assert chain.mined_calls() == [b"a", b"b", b"c", b"d", *(data.encode() for data in more)], "each of them once"
    assert set(states(ledger).values()) == {"final"}


def test_a_head_that_never_was_puts_off_no_mending(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain.nonce_lie = 2
    want(ledger, "a")
    outbox.step()
    chain.nonce_lie = 0
    head = chain.head
    with monkeypatch.context() as lying:
        lying.setattr(chain, "head", lambda: replace(head(), number=head().number + 10_000))
        settle(chain, outbox, blocks=5)
    settle(chain, outbox, blocks=100)
    assert chain.mined_calls() == [b"", b"", b"a"]


def test_a_nonce_far_beyond_the_chains_is_not_signed(chain: ScriptedChain, ledger: Ledger, outbox: Outbox) -> None:
    told = chain.nonce

    def lie_about_old_blocks(address: Address, *, block_number: int | None = None) -> int:
        return told(address) + (0 if block_number is None else 1_000)

    chain.nonce = lie_about_old_blocks  # type: ignore[method-assign]
    want(ledger, "a")
    outbox.step()
    assert outbox.alerts == ("a: its nonce would be 1000, but the chain is at 0: wait",)
    chain.nonce = told  # type: ignore[method-assign]
    settle(chain, outbox)
    assert chain.nonces(ADA) == [0]


def test_an_endpoint_that_keeps_no_older_states_tells_its_latest_nonce(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    told = chain.nonce

    def forget_old_blocks(address: Address, *, block_number: int | None = None) -> int:
        if block_number is not None:
            raise ChainError("missing trie node")
        return told(address)

    chain.nonce = forget_old_blocks  # type: ignore[method-assign]
    chain.take_nonce(ADA)
    want(ledger, *"ab")
    settle(chain, outbox)
    assert chain.nonces(ADA) == [0, 1, 2]


def test_a_reorg_that_removes_another_programs_transaction_leaves_no_gap_for_ever(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    chain.finality_depth = 0
    chain.take_nonce(ADA)
    want(ledger, "a")
    outbox.step()
    assert row(ledger, "a").nonce == 1
    chain.finality_depth = 2
    chain.reorganise(1)
    settle(chain, outbox, blocks=100)
    assert chain.nonces(ADA) == [0, 1]
    assert chain.mined_calls() == [b"", b"a"]


# ---- one that can't wait


def test_what_has_a_deadline_raises_the_cap_of_every_nonce_before_it(chain: ScriptedChain, ledger: Ledger) -> None:
    outbox = open_outbox(chain, ledger, limits=replace(LIMITS, fee_max_wei=Wei(250 * GAS_LIMIT)))
    want(ledger, "a")
    outbox.step()
    chain.base_wei = 10_000
    settle(chain, outbox, blocks=10)
    assert row(ledger, "a").state == "sent"
    want(ledger, "b", deadline_s=1, value_at_risk_wei=Wei(10**12 * GAS_LIMIT))
    want(ledger, "c")
    settle(chain, outbox, blocks=10)
    assert states(ledger) == {"a": "final", "b": "final", "c": "intended"}


def test_what_is_hastened_may_cost_more_and_is_never_slowed(chain: ScriptedChain, ledger: Ledger) -> None:
    want(ledger, "a", deadline_s=7, value_at_risk_wei=Wei(30))
    for deadline_s, value_wei in ((9, 20), (5, 10)):
        ledger.outbox.hasten(row(ledger, "a").id, deadline_s=deadline_s, value_at_risk_wei=Wei(value_wei))
    assert (row(ledger, "a").intent.deadline_s, row(ledger, "a").intent.value_at_risk_wei) == (5, 30)


# ---- reorganisations


@pytest.mark.parametrize("depth", [1, 2, 5, 12, 30, 64])
def test_what_a_reorg_takes_away_is_sent_again_with_the_same_bytes(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox, depth: int
) -> None:
    chain.finality_depth = 64
    want(ledger, *"abc")
    outbox.step()
    before = set(chain.pool)
    chain.mine()
    outbox.step()
    chain.mine(depth - 1)
    outbox.step()
    chain.reorganise(depth)
    assert chain.mined_calls() == []
    outbox.step()
    assert set(chain.pool) == before
    settle(chain, outbox, blocks=70)
    assert outbox.state.health == "ok"
    assert chain.mined_calls() == [b"a", b"b", b"c"]
    assert chain.nonces(ADA) == [0, 1, 2]
    assert set(states(ledger).values()) == {"final"}


@pytest.mark.parametrize("depth", [5, 30, 64])
def test_a_chain_that_takes_back_what_it_called_final_is_survived_too(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox, depth: int
) -> None:
    want(ledger, *"abc")
    settle(chain, outbox)
    assert set(states(ledger).values()) == {"final"}
    mined_at = row(ledger, "a").block_number
    assert mined_at is not None
    chain.mine(depth - (chain.head().number - mined_at + 1) if depth > 6 else 0)
    outbox.step()
    chain.reorganise(chain.head().number - mined_at + 1)
    settle(chain, outbox)
    assert outbox.state.health == "ok"
    assert chain.mined_calls() == [b"a", b"b", b"c"]
    assert set(states(ledger).values()) == {"final"}


def test_a_transaction_that_comes_back_in_another_block_is_noted_there(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    want(ledger, "a")
    outbox.step()
    pool = dict(chain.pool)
    chain.mine()
    outbox.step()
    chain.reorganise(1)
    chain.pool = pool
    chain.mine()
    outbox.step()
    assert (row(ledger, "a").state, row(ledger, "a").block_number) == ("mined", 3)


def test_a_reorg_deeper_than_an_honest_chain_has_halts_all_money(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    chain.finality_depth = 200
    want(ledger, "a")
    outbox.step()
    chain.mine(65)
    outbox.step()
    chain.reorganise(65)
    want(ledger, "b")
    assert not outbox.step()
    assert outbox.state.health == "halted"
    assert outbox.state.why is not None
    assert "the chain took back 65 blocks" in outbox.state.why
    settle(chain, outbox)
    assert chain.pool == {}
    assert states(ledger) == {"a": "mined", "b": "intended"}


def test_whoever_else_finds_the_chain_broken_can_halt_it(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    outbox.halt("the watcher says so")
    want(ledger, "a")
    settle(chain, outbox)
    assert (outbox.state.health, outbox.state.why) == ("halted", "the watcher says so")
    assert states(ledger) == {"a": "intended"}


# ---- a watcher that has just read the chain


def test_an_idle_outbox_asks_nothing_of_a_chain_that_was_just_read(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    want(ledger, "a")
    settle(chain, outbox)
    outbox.step(Seen(head=chain.head(), num_reorgs=0))
    chain.mine()
    seen = Seen(head=chain.head(), num_reorgs=0)
    chain.asked.clear()
    assert not outbox.step(seen)
    assert (outbox.state.health, chain.asked.total()) == ("ok", 0)
    want(ledger, "b")
    assert outbox.step(seen)


def test_a_reorg_that_a_watcher_met_reopens_what_was_final(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    want(ledger, "a")
    settle(chain, outbox)
    outbox.step(Seen(head=chain.head(), num_reorgs=0))
    chain.reorganise(len(chain.chain) - 1)
    outbox.step(Seen(head=chain.head(), num_reorgs=1))
    assert states(ledger) != {"a": "final"}
    settle(chain, outbox)
    assert states(ledger) == {"a": "final"}
    assert chain.mined_calls() == [b"a"]


def test_an_idle_outbox_waits_for_an_endpoint_that_is_behind(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox
) -> None:
    want(ledger, "a")
    settle(chain, outbox)
    outbox.step(Seen(head=chain.head(), num_reorgs=0))
    outbox.step(Seen(head=chain.chain[0].block, num_reorgs=0))
    assert outbox.state.health == "down"


# ---- endpoints that are down, or not what they were


def test_while_the_endpoint_is_down_nothing_is_lost(chain: ScriptedChain, ledger: Ledger, outbox: Outbox) -> None:
    want(ledger, "a")
    outbox.step()
    chain.is_down = True
    want(ledger, "b")
    assert not outbox.step()
    assert (outbox.state.health, outbox.state.why) == ("down", "the endpoint does not answer")
    chain.is_down = False
    settle(chain, outbox)
    assert outbox.state.health == "ok"
    assert chain.mined_calls() == [b"a", b"b"]


def test_nothing_is_sent_to_another_chain(chain: ScriptedChain, ledger: Ledger, outbox: Outbox) -> None:
    chain.told_chain_id = 1
    want(ledger, "a")
    outbox.step()
    assert (outbox.state.health, states(ledger)) == ("down", {"a": "intended"})
    assert outbox.state.why is not None
    assert "is on chain 1, not 7331" in outbox.state.why


def test_an_endpoint_that_is_behind_is_waited_for(chain: ScriptedChain, ledger: Ledger, outbox: Outbox) -> None:
    want(ledger, "a")
    settle(chain, outbox)
    want(ledger, "b")
    ahead = chain.chain
    chain.chain = ahead[:1]
    assert not outbox.step()
    assert outbox.state.health == "down"
    chain.chain = ahead
    settle(chain, outbox)
    assert states(ledger) == {"a": "final", "b": "final"}
    assert chain.nonces(ADA) == [0, 1]


@pytest.mark.parametrize(
    "question", ["head", "estimate_gas", "nonce", "send", "receipt", "is_known", "block", "fees"]
)
@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_an_endpoint_that_dies_at_any_question_costs_a_delay(
    chain: ScriptedChain, ledger: Ledger, outbox: Outbox, question: str, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    want(ledger, *"abc")
    asked = chain._answer

    def answer(name: str) -> None:
        chain.is_down = name == question and chain.asked[question] == after
        asked(name)

    monkeypatch.setattr(chain, "_answer", answer)
    settle(chain, outbox, blocks=12)
    assert outbox.state.health == "ok"
    assert sorted(chain.mined_calls()) == [b"a", b"b", b"c"]
    assert chain.nonces(ADA) == [0, 1, 2]
    assert set(states(ledger).values()) == {"final"}


def test_each_way_out_passes_fail_points_on_both_its_sides(chain: ScriptedChain, ledger: Ledger) -> None:
    passed: list[str] = []
    outbox = open_outbox(chain, ledger, fail_point=passed.append)
    chain.refusing.add(b"no")
    want(ledger, "no", "a")
    settle(chain, outbox)
    chain.reorganise(chain.head().number)
    chain.take_nonce(ADA)
    settle(chain, outbox)
    chain.nonce_lie = 1
    want(ledger, "b")
    outbox.step()
    chain.nonce_lie = 0
    settle(chain, outbox, blocks=80)
    assert set(passed) == set(FAIL_POINTS)
    assert chain.mined_calls() == [b"", b"a", b"", b"b"]
