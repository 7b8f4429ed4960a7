"""The outbox over a chain that drops, doubles, refuses, reorganises and falls silent."""

import logging
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
from support.scripted_chain import CHAIN_ID, GAS, TIP, ScriptedChain

from openledger_node.chain.delivery import FAIL_POINTS
from openledger_node.chain.encoding import UnsignedTransaction, sign_transaction
from openledger_node.chain.outbox import Outbox, note_final, note_mined
from openledger_node.chain.watcher import Seen
from openledger_node.errors import ChainError, KeyFileError
from openledger_node.ledger.ledger import Ledger
from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import Address, Wei
from openledger_protocol.signatures import address_of
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


@dataclass
class Desk:
    """An outbox, the chain that it sends to, and the ledger that says what to send."""

    chain: ScriptedChain
    ledger: Ledger

    def __post_init__(self) -> None:
        self.open()

    def open(self, **changes: Any) -> None:
        """Open the outbox, again perhaps and with other settings."""
        settings: dict[str, Any] = {
            "client": self.chain,
            "journal": self.ledger.outbox,
            "chain_id": CHAIN_ID,
            "senders": KEYS,
            "sign": lambda sender, unsigned: sign_transaction(unsigned, KEYS[sender]),
            "limits": LIMITS,
        }
        self.outbox = Outbox(**{**settings, **changes})

    def want(self, *data: str, **changes: Any) -> None:
        for one in data:
            self.ledger.outbox.add(intent(one, **changes))

    def row(self, key: str) -> Transaction:
        found = self.ledger.outbox.find(key)
        assert found is not None
        return found

    def states(self) -> dict[str, TransactionState]:
        return {found.intent.key: found.state for found in reversed(self.ledger.outbox.newest(limit=1_000))}

    def limit(self, **limits: Any) -> None:
        self.open(limits=replace(LIMITS, **limits))

    def settle(self, *, blocks: int = 6) -> None:
        for _ in range(blocks):
            self.outbox.step()
            self.chain.mine()
        self.outbox.step()


@pytest.fixture
def desk(chain: ScriptedChain, ledger: Ledger) -> Desk:
    return Desk(chain, ledger)


# ---- the way of a transaction


def test_an_intent_is_sent_then_mined_then_final(desk: Desk) -> None:
    desk.want("a")
    assert desk.outbox.step()
    assert desk.states() == {"a": "sent"}
    desk.chain.mine()
    assert desk.outbox.step()
    assert desk.states() == {"a": "mined"}
    assert not desk.outbox.step()
    desk.chain.mine(2)
    desk.outbox.step()
    found = desk.row("a")
    assert (found.state, found.nonce, found.block_number, found.gas_used) == ("final", 0, 1, GAS)
    assert found.fee_wei == GAS * (100 + TIP)
    assert found.mined_s == desk.chain.chain[1].block.timestamp_s
    assert desk.chain.mined_calls() == [b"a"]


def test_no_more_are_on_their_way_than_an_endpoint_holds(desk: Desk) -> None:
    desk.limit(in_flight_max=2)
    desk.want(*"abcde")
    desk.outbox.step()
    assert len(desk.chain.pool) == 2
    desk.settle()
    assert desk.chain.mined_calls() == [b"a", b"b", b"c", b"d", b"e"]


def test_what_a_reorg_brings_back_leaves_no_room_for_more(desk: Desk) -> None:
    desk.limit(in_flight_max=2)
    desk.chain.finality_depth = 10
    desk.want(*"abcdefg")
    desk.settle(blocks=2)
    desk.chain.reorganise(2)
    desk.outbox.step()
    assert len(desk.chain.pool) == 6
    assert desk.states()["g"] == "intended"


def test_a_key_that_cannot_be_opened_holds_up_its_own_sender_only(desk: Desk) -> None:
    def sign(sender: Address, unsigned: UnsignedTransaction) -> bytes:
        if sender == ADA:
            raise KeyFileError("the wallet is locked: unlock it")
        return sign_transaction(unsigned, KEYS[sender])

    desk.open(sign=sign)
    desk.want(*"ab")
    desk.want("c", sender=BEN)
    desk.settle()
    assert desk.states() == {"a": "reserved", "b": "intended", "c": "final"}
    assert desk.outbox.alerts == ("a: the wallet is locked: unlock it",)
    desk.open()
    desk.settle()
    assert (desk.chain.nonces(ADA), desk.chain.nonces(BEN)) == ([0, 1], [0])


# ---- what is refused before it costs anything


def test_what_the_contract_would_refuse_is_refused_without_a_nonce(desk: Desk) -> None:
    desk.chain.refusing.add(b"a")
    desk.want(*"ab")
    desk.settle()
    assert (desk.row("a").state, desk.row("a").nonce, desk.row("a").error) == ("refused", None, "refused a")
    assert (desk.row("b").state, desk.row("b").nonce) == ("final", 0)


@pytest.mark.parametrize(("fails_on", "state"), [(False, "final"), (True, "refused")])
def test_what_fails_is_tried_again_after_an_earlier_transaction(desk: Desk, fails_on: bool, state: str) -> None:
    desk.chain.refusing.add(b"bond")
    desk.want("approve", "bond")
    desk.outbox.step()
    assert desk.states() == {"approve": "sent", "bond": "intended"}
    if not fails_on:
        desk.chain.refusing.clear()
    desk.settle()
    assert desk.states() == {"approve": "final", "bond": state}


# ---- endpoints that lose, double and refuse


def test_a_transaction_that_the_endpoint_forgot_is_sent_again_as_it_was(desk: Desk) -> None:
    desk.want(*"ab")
    desk.outbox.step()
    before = set(desk.chain.pool)
    desk.chain.lose_pool()
    desk.outbox.step()
    assert set(desk.chain.pool) == before
    desk.chain.num_to_drop = 1
    desk.chain.lose_pool()
    desk.settle()
    assert desk.chain.mined_calls() == [b"a", b"b"]
    assert desk.chain.nonces(ADA) == [0, 1]


def test_no_coin_holds_up_the_sender_and_says_so(desk: Desk) -> None:
    desk.chain.poor.add(ADA)
    desk.want(*"ab")
    desk.want("c", sender=BEN)
    desk.settle()
    assert desk.states() == {"a": "signed", "b": "intended", "c": "final"}
    assert list(desk.outbox.alerts) == [f"a: {ADA} has too few coins for gas: send some to it"]
    desk.chain.poor.clear()
    desk.settle()
    assert list(desk.outbox.alerts) == []
    assert desk.chain.nonces(ADA) == [0, 1]


@pytest.mark.parametrize("refusal", ["known", "nonce_too_low", "other", "no_funds"])
def test_an_endpoint_that_refuses_for_no_reason_delays_and_nothing_more(desk: Desk, refusal: Any) -> None:
    desk.chain.refusals.extend([refusal] * 3)
    desk.want(*"abc")
    desk.settle(blocks=10)
    assert desk.chain.mined_calls() == [b"a", b"b", b"c"]
    assert desk.chain.nonces(ADA) == [0, 1, 2]


def test_a_nonce_that_another_program_took_is_given_up_once_that_is_final(desk: Desk) -> None:
    desk.want(*"ab")
    desk.outbox.step()
    desk.chain.lose_pool()
    desk.chain.take_nonce(ADA)
    desk.outbox.step()
    assert desk.states() == {"a": "sent", "b": "sent"}
    assert [desk.row(key).nonce for key in "ab"] == [0, 1]
    desk.settle()
    assert desk.states() == {"a": "final", "b": "final"}
    assert desk.chain.nonces(ADA) == [0, 1, 2]
    assert sorted(desk.chain.mined_calls()) == [b"", b"a", b"b"]


# ---- prices


def test_a_stuck_one_is_made_dearer_under_the_same_nonce(desk: Desk) -> None:
    desk.want(*"ab")
    desk.outbox.step()
    desk.chain.base_wei = 1_000
    desk.chain.mine(2)
    desk.outbox.step()
    assert [sent.fee_max_wei for sent in desk.chain.pool.values()] == [210, 210]
    desk.settle(blocks=12)
    assert desk.chain.mined_calls() == [b"a", b"b"]
    assert desk.chain.nonces(ADA) == [0, 1]
    for key in "ab":
        prices = [variant.price for variant in desk.row(key).variants]
        assert len(prices) == 2
        for before, after in pairwise(prices):
            assert after.fee_max_wei * 8 >= before.fee_max_wei * 9
            assert after.tip_max_wei * 8 >= before.tip_max_wei * 9


def test_a_pool_that_wants_more_is_given_more_at_once(desk: Desk) -> None:
    desk.chain.refusals.append("underpriced")
    desk.want("a")
    desk.outbox.step()
    assert [sent.fee_max_wei for sent in desk.chain.pool.values()] == [237]
    assert len(desk.row("a").variants) == 2
    desk.settle()
    assert desk.row("a").mined_hash == desk.row("a").variants[1].hash


def test_the_cheaper_variant_may_be_the_one_that_is_mined(desk: Desk) -> None:
    desk.want("a")
    desk.outbox.step()
    (cheap,) = desk.chain.pool.values()
    desk.chain.base_wei = 1_000
    desk.chain.mine(4)
    desk.outbox.step()
    desk.chain.pool = {cheap.hash: cheap}
    desk.chain.base_wei = 100
    desk.chain.mine()
    desk.settle()
    assert desk.row("a").state == "final"
    assert desk.row("a").mined_hash == cheap.hash
    assert desk.chain.mined_calls() == [b"a"]


def test_a_price_never_goes_over_its_cap_and_the_operator_hears_of_it(desk: Desk) -> None:
    desk.limit(fee_max_wei=Wei(250 * GAS_LIMIT))
    desk.want("a")
    desk.outbox.step()
    desk.chain.base_wei = 1_000
    for _ in range(30):
        desk.chain.mine()
        desk.outbox.step()
    assert max(variant.price.fee_max_wei for variant in desk.row("a").variants) <= 250
    assert "raise [chain] fee_max_wei" in desk.outbox.alerts[0]
    desk.want("b")
    desk.outbox.step()
    assert desk.row("b").state == "intended"


def test_the_days_gas_budget_holds_but_for_what_has_a_deadline(desk: Desk) -> None:
    budget = Wei(2 * 210 * GAS_LIMIT)
    desk.limit(gas_budget_wei=budget)
    desk.want(*"abc")
    desk.want("d", deadline_s=1)
    desk.outbox.step()
    assert desk.states() == {"a": "sent", "b": "sent", "c": "intended", "d": "sent"}
    assert desk.outbox.alerts == ("c: today's gas budget is used up: wait, or raise [chain] gas_budget_wei",)
    desk.settle()
    desk.want("e")
    desk.settle()
    assert desk.states() == {"a": "final", "b": "final", "c": "intended", "d": "final", "e": "intended"}
    desk.chain.block_time_s = 86_400
    desk.settle()
    assert set(desk.states().values()) == {"final"}


# ---- what is refused after the gas is paid


def test_a_revert_is_told_with_the_contracts_reason_and_fails_when_final(desk: Desk) -> None:
    desk.chain.refusing_mined.add(b"a")
    desk.want("a")
    desk.outbox.step()
    desk.chain.mine()
    desk.outbox.step()
    assert (desk.row("a").state, desk.row("a").error) == ("reverted", "refused a")
    desk.settle()
    assert desk.row("a").state == "failed"


def test_three_paid_failures_stop_their_kind_and_no_other(desk: Desk) -> None:
    desk.chain.refusing_mined |= {b"a", b"b", b"c"}
    desk.want(*"abc")
    desk.settle()
    desk.want("d")
    desk.want("e", kind="propose")
    desk.settle()
    assert desk.states() == {"a": "failed", "b": "failed", "c": "failed", "d": "intended", "e": "final"}
    (alert,) = desk.outbox.alerts
    assert alert.startswith("d: 3 claim transactions were reverted after their gas was paid: no more are sent until")
    assert "network forgive 'claim'" in alert
    assert [desk.ledger.outbox.forgive(kind) for kind in ("propose", "claim", "claim")] == [0, 3, 0]
    desk.settle()
    assert desk.row("d").state == "final"


@pytest.mark.parametrize("is_reached", [False, True], ids=["a success between them", "goals reached by others"])
def test_only_three_failures_in_a_row_without_their_goal_stop_a_kind(desk: Desk, is_reached: bool) -> None:
    desk.chain.refusing_mined |= {b"a", b"b", b"c" if is_reached else b"d", b"e"}
    for data in "abcdef":
        desk.want(data)
        desk.settle()
        if is_reached:
            desk.ledger.outbox.forgive_reached(data)
    assert desk.row("f").state == "final"


# ---- wrong nonces


@pytest.mark.parametrize("lie", [1, 16])
def test_a_wrong_nonce_that_an_endpoint_once_told_is_mended_without_a_second_signature(desk: Desk, lie: int) -> None:
    desk.chain.nonce_lie = lie
    desk.want(*"ab")
    desk.outbox.step()
    assert [desk.row(key).nonce for key in "ab"] == [lie, lie + 1]
    desk.chain.nonce_lie = 0
    desk.settle(blocks=10)
    assert any("nothing of ours has nonce 0, which the chain expects next" in alert for alert in desk.outbox.alerts)
    assert desk.chain.mined_calls() == []
    desk.want(*"cd")
    desk.settle(blocks=100)
    assert desk.chain.mined_calls() == [b""] * lie + [b"a", b"b", b"c", b"d"]
    assert desk.chain.nonces(ADA) == list(range(lie + 4))
    assert desk.outbox.alerts == ()
    assert set(desk.states().values()) == {"final"}


@pytest.mark.parametrize("lie", [17, 1_000])
def test_behind_a_nonce_that_is_far_too_high_nothing_waits_for_ever(desk: Desk, lie: int) -> None:
    desk.chain.nonce_lie = lie
    desk.want(*"ab")
    desk.outbox.step()
    desk.chain.nonce_lie = 0
    desk.want(*"cd")
    desk.settle(blocks=10)
    assert [desk.row(key).nonce for key in "abcd"] == [lie, lie + 1, None, None]
    desk.settle(blocks=100)
    assert desk.chain.mined_calls() == [b"a", b"b", b"c", b"d"]
    assert desk.chain.nonces(ADA) == [0, 1, 2, 3]
    more = [f"more {number}" for number in range(20)]
    desk.want(*more)
    desk.settle(blocks=30)
    assert desk.chain.mined_calls() == [b"a", b"b", b"c", b"d", *(data.encode() for data in more)], (
        "each of them once"
    )
    assert set(desk.states().values()) == {"final"}


def test_a_nonce_far_beyond_the_chains_is_not_signed(desk: Desk) -> None:
    told = desk.chain.nonce

    def lie_about_old_blocks(address: Address, *, block_number: int | None = None) -> int:
        return told(address) + (0 if block_number is None else 1_000)

    desk.chain.nonce = lie_about_old_blocks  # type: ignore[method-assign]
    desk.want("a")
    desk.outbox.step()
    assert desk.outbox.alerts == ("a: its nonce would be 1000, but the chain is at 0: wait",)
    desk.chain.nonce = told  # type: ignore[method-assign]
    desk.settle()
    assert desk.chain.nonces(ADA) == [0]


def test_an_endpoint_that_keeps_no_older_states_tells_its_latest_nonce(desk: Desk) -> None:
    told = desk.chain.nonce

    def forget_old_blocks(address: Address, *, block_number: int | None = None) -> int:
        if block_number is not None:
            raise ChainError("missing trie node")
        return told(address)

    desk.chain.nonce = forget_old_blocks  # type: ignore[method-assign]
    desk.chain.take_nonce(ADA)
    desk.want(*"ab")
    desk.settle()
    assert desk.chain.nonces(ADA) == [0, 1, 2]


def test_a_reorg_that_removes_another_programs_transaction_leaves_no_gap_for_ever(desk: Desk) -> None:
    desk.chain.finality_depth = 0
    desk.chain.take_nonce(ADA)
    desk.want("a")
    desk.outbox.step()
    assert desk.row("a").nonce == 1
    desk.chain.finality_depth = 2
    desk.chain.reorganise(1)
    desk.settle(blocks=100)
    assert desk.chain.nonces(ADA) == [0, 1]
    assert desk.chain.mined_calls() == [b"", b"a"]


# ---- one that can't wait


def test_what_has_a_deadline_raises_the_cap_of_every_nonce_before_it(desk: Desk) -> None:
    desk.limit(fee_max_wei=Wei(250 * GAS_LIMIT))
    desk.want("a")
    desk.outbox.step()
    desk.chain.base_wei = 10_000
    desk.settle(blocks=10)
    assert desk.row("a").state == "sent"
    desk.want("b", deadline_s=1, value_at_risk_wei=Wei(10**12 * GAS_LIMIT))
    desk.want("c")
    desk.settle(blocks=10)
    assert desk.states() == {"a": "final", "b": "final", "c": "intended"}


def test_what_is_hastened_may_cost_more_and_is_never_slowed(desk: Desk) -> None:
    desk.want("a", deadline_s=7, value_at_risk_wei=Wei(30))
    for deadline_s, value_wei in ((9, 20), (5, 10)):
        desk.ledger.outbox.hasten(desk.row("a").id, deadline_s=deadline_s, value_at_risk_wei=Wei(value_wei))
    assert (desk.row("a").intent.deadline_s, desk.row("a").intent.value_at_risk_wei) == (5, 30)


# ---- reorganisations


@pytest.mark.parametrize("depth", [1, 12, 64])
def test_what_a_reorg_takes_away_is_sent_again_with_the_same_bytes(desk: Desk, depth: int) -> None:
    desk.chain.finality_depth = 64
    desk.want(*"abc")
    desk.outbox.step()
    before = set(desk.chain.pool)
    desk.chain.mine()
    desk.outbox.step()
    desk.chain.mine(depth - 1)
    desk.outbox.step()
    desk.chain.reorganise(depth)
    assert desk.chain.mined_calls() == []
    desk.outbox.step()
    assert set(desk.chain.pool) == before
    desk.settle(blocks=70)
    assert desk.outbox.state.health == "ok"
    assert desk.chain.mined_calls() == [b"a", b"b", b"c"]
    assert desk.chain.nonces(ADA) == [0, 1, 2]
    assert set(desk.states().values()) == {"final"}


@pytest.mark.parametrize("depth", [5, 64])
def test_a_chain_that_takes_back_what_it_called_final_is_survived_too(desk: Desk, depth: int) -> None:
    desk.want(*"abc")
    desk.settle()
    assert set(desk.states().values()) == {"final"}
    mined_at = desk.row("a").block_number
    assert mined_at is not None
    desk.chain.mine(depth - (desk.chain.head().number - mined_at + 1) if depth > 6 else 0)
    desk.outbox.step()
    desk.chain.reorganise(desk.chain.head().number - mined_at + 1)
    desk.settle()
    assert desk.outbox.state.health == "ok"
    assert desk.chain.mined_calls() == [b"a", b"b", b"c"]
    assert set(desk.states().values()) == {"final"}


def test_a_reorg_deeper_than_an_honest_chain_has_halts_all_money(desk: Desk) -> None:
    desk.chain.finality_depth = 200
    desk.want("a")
    desk.outbox.step()
    desk.chain.mine(65)
    desk.outbox.step()
    desk.chain.reorganise(65)
    desk.want("b")
    assert not desk.outbox.step()
    assert desk.outbox.state.health == "halted"
    assert desk.outbox.state.why is not None
    assert "the chain took back 65 blocks" in desk.outbox.state.why
    desk.settle()
    assert desk.chain.pool == {}
    assert desk.states() == {"a": "mined", "b": "intended"}


def test_whoever_else_finds_the_chain_broken_can_halt_it(desk: Desk) -> None:
    desk.outbox.halt("the watcher says so")
    desk.want("a")
    desk.settle()
    assert (desk.outbox.state.health, desk.outbox.state.why) == ("halted", "the watcher says so")
    assert desk.states() == {"a": "intended"}


# ---- a watcher that has just read the chain


def test_an_idle_outbox_asks_nothing_of_a_chain_that_was_just_read(desk: Desk) -> None:
    desk.want("a")
    desk.settle()
    desk.outbox.step(Seen(head=desk.chain.head(), num_reorgs=0))
    desk.chain.mine()
    seen = Seen(head=desk.chain.head(), num_reorgs=0)
    desk.chain.asked.clear()
    assert not desk.outbox.step(seen)
    assert (desk.outbox.state.health, desk.chain.asked.total()) == ("ok", 0)
    desk.want("b")
    assert desk.outbox.step(seen)


def test_a_reorg_that_a_watcher_met_reopens_what_was_final(desk: Desk) -> None:
    desk.want("a")
    desk.settle()
    desk.outbox.step(Seen(head=desk.chain.head(), num_reorgs=0))
    desk.chain.reorganise(len(desk.chain.chain) - 1)
    desk.outbox.step(Seen(head=desk.chain.head(), num_reorgs=1))
    assert desk.states() != {"a": "final"}
    desk.settle()
    assert desk.states() == {"a": "final"}
    assert desk.chain.mined_calls() == [b"a"]


# ---- endpoints that are down, or not what they were


def test_nothing_is_sent_to_another_chain(desk: Desk) -> None:
    desk.chain.told_chain_id = 1
    desk.want("a")
    desk.outbox.step()
    assert (desk.outbox.state.health, desk.states()) == ("down", {"a": "intended"})
    assert desk.outbox.state.why is not None
    assert "is on chain 1, not 7331" in desk.outbox.state.why


def test_an_endpoint_that_names_another_hash_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.chain, "send", lambda _: "0x" + "ab" * 32)
    desk.want("a")
    desk.outbox.step()
    assert (desk.outbox.state.health, desk.row("a").state) == ("down", "signed")
    assert "the hash of another transaction" in (desk.outbox.state.why or "")


def test_an_endpoint_that_is_behind_is_waited_for(desk: Desk) -> None:
    desk.want("a")
    desk.settle()
    desk.want("b")
    ahead = desk.chain.chain
    desk.chain.chain = ahead[:1]
    assert not desk.outbox.step()
    assert desk.outbox.state.health == "down"
    desk.chain.chain = ahead
    desk.settle()
    assert desk.states() == {"a": "final", "b": "final"}
    assert desk.chain.nonces(ADA) == [0, 1]


@pytest.mark.parametrize(
    "question", ["head", "estimate_gas", "nonce", "send", "receipt", "is_known", "block", "fees"]
)
@pytest.mark.parametrize("after", [0, 2])
def test_an_endpoint_that_dies_at_any_question_costs_a_delay(
    desk: Desk, question: str, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.want(*"abc")
    asked = desk.chain._answer

    def answer(name: str) -> None:
        desk.chain.is_down = name == question and desk.chain.asked[question] == after
        asked(name)

    monkeypatch.setattr(desk.chain, "_answer", answer)
    desk.settle(blocks=12)
    assert desk.outbox.state.health == "ok"
    assert sorted(desk.chain.mined_calls()) == [b"a", b"b", b"c"]
    assert desk.chain.nonces(ADA) == [0, 1, 2]
    assert set(desk.states().values()) == {"final"}


def test_each_way_out_passes_fail_points_on_both_its_sides(desk: Desk) -> None:
    passed: list[str] = []
    desk.open(fail_point=passed.append)
    desk.chain.refusing.add(b"no")
    desk.want("no", "a")
    desk.settle()
    desk.chain.reorganise(desk.chain.head().number)
    desk.chain.take_nonce(ADA)
    desk.settle()
    desk.chain.nonce_lie = 1
    desk.want("b")
    desk.outbox.step()
    desk.chain.nonce_lie = 0
    desk.settle(blocks=80)
    assert set(passed) == set(FAIL_POINTS)
    assert desk.chain.mined_calls() == [b"", b"a", b"", b"b"]


# ---- transactions that an operator waits for are events; the others are plain lines of the log


@pytest.mark.parametrize(
    ("kind", "error", "mined", "final"),
    [
        ("claim", None, "claim_made: 3 jobs, in block 7", "final: 3 jobs"),
        ("finalize late", None, "mined in block 7: 3 jobs", "claim_final: 3 jobs"),
        ("withdraw", None, "mined in block 7: 3 jobs", "withdrawn: 3 jobs"),
        ("adapter", None, "mined in block 7: 3 jobs", "adapter_published: 3 jobs"),
        ("stake", None, "mined in block 7: 3 jobs", "final: 3 jobs"),
        ("claim", "NotDue()", "refused (NotDue()) in block 7: 3 jobs", "final: 3 jobs"),
    ],
)
def test_what_an_operator_waits_for_is_an_event_unless_the_contract_refused_it(
    caplog: pytest.LogCaptureFixture, kind: str, error: str | None, mined: str, final: str
) -> None:
    caplog.set_level(logging.INFO, logger="openledger_node")
    note_mined(intent("3 jobs", kind=kind), 7, error)
    note_final(intent("3 jobs", kind=kind), error)
    assert caplog.messages == [mined, final]
