"""A payer whose node invents gaps and late receipts owes no more than was paid on its streams."""

from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.market_world.terms import CHANNEL, CHUNK_TOKENS, price, word

from openledger_node.payments.payer_lanes import LOST_NS, PayerLane
from openledger_protocol.errors import ReceiptRefusedError
from openledger_protocol.lane_tab import Tab
from openledger_protocol.primitives import BASE_ONLY, RequestId, Wei

TOKENS_IN, TOKENS_MAX = 5, 40


def restarted(payer: PayerLane, lost: dict[RequestId, Wei], receipts_wei: int) -> PayerLane:
    tab = Tab(charged_wei=payer.tab.charged_wei, ceiling_wei=payer.tab.ceiling_wei)
    return PayerLane.after_restart(
        channel_id=CHANNEL, adapter_id=BASE_ONLY, tab=tab, lost=lost, receipts_wei=Wei(receipts_wei)
    )


amounts = st.one_of(
    st.integers(1, TOKENS_MAX).map(lambda tokens: price(TOKENS_IN, tokens)), st.just(Wei(0)), st.just(Wei(1))
)


class Overcharged(RuleBasedStateMachine):
    """A payer whose node invents gaps and late receipts."""

    def __init__(self) -> None:
        super().__init__()
        self.payer = PayerLane(channel_id=CHANNEL, adapter_id=BASE_ONLY, tab=Tab())
        self.paid: dict[RequestId, int] = {}  # tokens paid, by stream
        self.receipts_wei = self.num_vouchers = self.now_ns = 0

    @property
    def running(self) -> list[RequestId]:
        return list(self.payer.tab.running)

    def pay(self, name: RequestId, tokens: int) -> None:
        tab = self.payer.tab
        self.paid[name] = min(tokens, TOKENS_MAX)
        tab.run_up(name, price(TOKENS_IN, self.paid[name]))
        tab.ceiling_wei = Wei(max(tab.owed_wei + tab.lost_wei, tab.ceiling_wei + 1))
        self.num_vouchers += 1

    @precondition(lambda self: len(self.paid) < 8)
    @rule()
    def open(self) -> None:
        self.pay(RequestId(word(f"stream {len(self.paid)}")), CHUNK_TOKENS)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def pay_on(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.running))
        self.pay(name, self.paid[name] + CHUNK_TOKENS)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.payer.lose(data.draw(st.sampled_from(self.running)), self.now_ns)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), gap_wei=amounts)
    def take(self, data: st.DataObject, gap_wei: Wei) -> None:
        """A receipt in time, after a gap that no receipt explains."""
        name = data.draw(st.sampled_from(self.running))
        amount_wei = price(TOKENS_IN, data.draw(st.integers(1, self.paid[name])))
        before = Wei(self.payer.tab.charged_wei + gap_wei)
        self.payer.find_lost(before)
        if before == self.payer.tab.charged_wei:
            self.settle(name, amount_wei, Wei(before + amount_wei))
        else:
            self.payer.lose(name, self.now_ns)

    @precondition(lambda self: set(self.paid) - set(self.running))
    @rule(data=st.data(), amount_wei=amounts, back_wei=amounts, gap_wei=amounts)
    def take_late(self, data: st.DataObject, amount_wei: Wei, back_wei: Wei, gap_wei: Wei) -> None:
        """A receipt of a stream that is over, for any amount and in any place."""
        name = data.draw(st.sampled_from(sorted(set(self.paid) - set(self.running))))
        cumulative_wei = self.payer.tab.charged_wei + gap_wei + amount_wei - back_wei
        self.payer.find_lost(Wei(max(0, cumulative_wei - amount_wei)))
        charged_wei = self.payer.tab.charged_wei
        is_charged = cumulative_wei <= charged_wei
        if cumulative_wei > self.payer.tab.ceiling_wei or not (
            is_charged or cumulative_wei == charged_wei + amount_wei
        ):
            return
        with suppress(ReceiptRefusedError):
            self.payer.check_late(name, amount_wei, is_charged=is_charged)
            self.settle(name, amount_wei, Wei(cumulative_wei))

    def settle(self, name: RequestId, amount_wei: Wei, cumulative_wei: Wei) -> None:
        self.payer.settle(name, amount_wei=amount_wei, cumulative_wei=cumulative_wei)
        self.receipts_wei += amount_wei

    @rule()
    def wait(self) -> None:
        self.now_ns += LOST_NS + 1
        self.payer.forget_lost(self.now_ns)

    @rule()
    def restart(self) -> None:
        lost = self.payer.lost | {name: price(TOKENS_IN, self.paid[name]) for name in self.running}
        self.payer = restarted(self.payer, lost, self.receipts_wei)

    @invariant()
    def nothing_is_owed_but_what_was_paid_on_a_stream(self) -> None:
        paid_wei = sum(price(TOKENS_IN, tokens) for tokens in self.paid.values())
        tab = self.payer.tab
        assert tab.owed_wei + tab.lost_wei <= paid_wei
        assert tab.ceiling_wei <= paid_wei + self.num_vouchers

    @invariant()
    def receipts_charge_each_wei_once(self) -> None:
        assert self.receipts_wei <= self.payer.tab.charged_wei


Overcharged.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestOvercharged = Overcharged.TestCase
