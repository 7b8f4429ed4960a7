"""Many streams on one channel, messages in any order: the books of both sides agree, and exposure is bounded.

The first machine has an honest node. The second has one that charges lost streams, and gaps, as it likes.
"""

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.market_world.terms import CHANNEL, CHUNK_TOKENS, price, word

from openledger_node.payments.payer_lanes import LOST_NS, PayerLane
from openledger_protocol.errors import ReceiptRefusedError
from openledger_protocol.lane_tab import Tab
from openledger_protocol.primitives import BASE_ONLY, RequestId, Wei

TOKENS_IN, TOKENS_MAX = 5, 40
FIRST_WEI = price(TOKENS_IN, CHUNK_TOKENS)
CHUNK_WEI = price(0, CHUNK_TOKENS)
STREAMS_MAX = 4


@dataclass
class Stream:
    """One request, and what is on its way in either direction."""

    name: RequestId
    to_node: deque[tuple[int, int]] = field(default_factory=deque)  # vouchers: ceiling, and tokens paid here
    to_payer: deque[tuple[str, int]] = field(default_factory=deque)  # tokens so far, or the receipt's `before`
    num_sent: int = 0
    num_seen: int = 0
    num_paid: int = 0
    num_told: int = 0  # tokens that the node knows to be paid here
    is_open: bool = False  # at the node
    is_over: bool = False  # at the node
    is_done: bool = False  # at the payer
    is_lost: bool = False  # at the payer, and its receipt has not come
    amount_wei: int = 0


class Channel(RuleBasedStateMachine):
    """The rules of `serving.delivery` and `market.payer`, without streams in between."""

    def __init__(self) -> None:
        super().__init__()
        self.node = Tab()
        self.payer = PayerLane(channel_id=CHANNEL, adapter_id=BASE_ONLY, tab=Tab())
        self.streams: list[Stream] = []
        self.num_lost = 0
        self.receipts: list[tuple[int, int]] = []  # before, amount: in the node's order

    def live(self) -> list[Stream]:
        return [stream for stream in self.streams if not stream.is_done]

    def price(self, tokens: int) -> Wei:
        return price(TOKENS_IN, tokens)

    def pay(self, stream: Stream, tokens: int) -> None:
        tab = self.payer.tab
        stream.num_paid = max(stream.num_paid, min(tokens, TOKENS_MAX))
        tab.run_up(stream.name, Wei(max(self.price(stream.num_paid), tab.running.get(stream.name, 0))))
        tab.ceiling_wei = Wei(max(tab.owed_wei + tab.lost_wei, tab.ceiling_wei + 1))
        stream.to_node.append((tab.ceiling_wei, stream.num_paid))

    # ---- the payer

    @precondition(lambda self: len(self.live()) < STREAMS_MAX and len(self.streams) < 12)
    @rule()
    def open(self) -> None:
        stream = Stream(RequestId(word(f"stream {len(self.streams)}")))
        self.streams.append(stream)
        self.pay(stream, CHUNK_TOKENS)

    @rule(data=st.data())
    def payer_hears(self, data: st.DataObject) -> None:
        waiting = [stream for stream in self.live() if stream.to_payer]
        if not waiting:
            return
        stream = data.draw(st.sampled_from(waiting))
        kind, value = stream.to_payer[0]
        if kind == "receipt":
            self.take_receipt(stream, value)
            return
        stream.to_payer.popleft()
        stream.num_seen = value
        assert value <= stream.num_paid, "an honest node spends nothing that was paid for another stream"
        if stream.num_paid - value <= CHUNK_TOKENS // 2 and stream.num_paid < TOKENS_MAX:
            self.pay(stream, value + CHUNK_TOKENS)

    def take_receipt(self, stream: Stream, before: int) -> None:
        """In its turn; what lost streams were charged explains a gap."""
        self.payer.waiting[stream.name] = Wei(before)
        if not self.payer.has_turn(stream.name, Wei(before)):
            return
        stream.to_payer.popleft()
        del self.payer.waiting[stream.name]
        self.payer.find_lost(Wei(before))
        assert self.payer.tab.charged_wei == before, "an honest node's receipt is never refused"
        self.settle(stream, before)
        stream.is_done = True

    def settle(self, stream: Stream, before: int) -> None:
        self.payer.settle(
            stream.name, amount_wei=Wei(stream.amount_wei), cumulative_wei=Wei(before + stream.amount_wei)
        )
        assert self.payer.tab.charged_wei <= self.payer.tab.ceiling_wei

    @rule(data=st.data())
    def payer_hears_late(self, data: st.DataObject) -> None:
        """The receipt of a lost stream comes on another one."""
        late = [stream for stream in self.streams if stream.is_lost and stream.amount_wei]
        if not late:
            return
        stream = data.draw(st.sampled_from(late))
        _, before = stream.to_payer[-1]
        if not self.payer.has_turn(stream.name, Wei(before)):
            return
        self.payer.find_lost(Wei(before))
        assert self.payer.tab.charged_wei >= before, "an honest node's receipt is never refused"
        amount_wei = Wei(stream.amount_wei)
        self.payer.check_late(stream.name, amount_wei, is_charged=before + amount_wei <= self.payer.tab.charged_wei)
        self.settle(stream, before)
        stream.is_lost = False

    @precondition(lambda self: self.num_lost < 4)
    @rule(data=st.data())
    def payer_leaves(self, data: st.DataObject) -> None:
        leaving = [stream for stream in self.live() if stream.name not in self.payer.waiting]
        if not leaving:
            return
        stream = data.draw(st.sampled_from(leaving))
        stream.is_done = stream.is_lost = True
        self.num_lost += 1
        self.payer.lose(stream.name, 0)

    @precondition(lambda self: self.num_lost < 4)
    @rule()
    def payer_restarts(self) -> None:
        lost = {stream.name: self.price(stream.num_paid) for stream in self.streams if stream.is_lost}
        for stream in self.live():
            stream.is_done = stream.is_lost = True
            lost[stream.name] = self.price(stream.num_paid)
        self.num_lost += 1
        self.payer = restarted(self.payer, lost, sum(map(self.charged, self.streams)))

    # ---- the node

    @rule(data=st.data())
    def node_hears(self, data: st.DataObject) -> None:
        waiting = [stream for stream in self.streams if stream.to_node]
        if not waiting:
            return
        stream = data.draw(st.sampled_from(waiting))
        ceiling_wei, stream.num_told = stream.to_node.popleft()
        self.node.ceiling_wei = Wei(max(self.node.ceiling_wei, ceiling_wei))
        if not stream.is_open and not stream.is_over:
            stream.is_open = True
            self.node.run_up(stream.name, FIRST_WEI)

    @rule(data=st.data(), count=st.integers(1, CHUNK_TOKENS))
    def node_sends(self, data: st.DataObject, count: int) -> None:
        open_ = [stream for stream in self.streams if stream.is_open and stream.num_sent < TOKENS_MAX]
        if not open_:
            return
        stream = data.draw(st.sampled_from(open_))
        for _ in range(count):
            price = self.price(stream.num_sent + 1)
            reserved = Wei(max(price, self.node.running[stream.name]))
            if stream.num_sent == stream.num_told or self.node.ceiling_wei < self.node.needed_wei(
                stream.name, reserved
            ):
                return
            self.node.run_up(stream.name, reserved)
            stream.num_sent += 1
            stream.to_payer.append(("chunk", stream.num_sent))

    @rule(data=st.data())
    def node_ends(self, data: st.DataObject) -> None:
        """The answer is over, or the payer has left, or has not paid in time."""
        open_ = [stream for stream in self.streams if stream.is_open]
        if not open_:
            return
        stream = data.draw(st.sampled_from(open_))
        stream.is_open, stream.is_over = False, True
        if stream.num_sent == 0:
            self.node.drop(stream.name)
            stream.to_payer.append(("receipt", -1))
            stream.to_payer.pop()
            if not stream.is_done:
                self.payer.drop(stream.name)  # it hears an error before the first chunk
                stream.is_done = True
            return
        stream.amount_wei = self.price(stream.num_sent)
        before = self.node.charged_wei
        self.receipts.append((before, stream.amount_wei))
        self.node.settle(stream.name, Wei(stream.amount_wei))
        stream.to_payer.append(("receipt", before))

    # ---- what holds at any time

    @invariant()
    def no_more_is_charged_than_vouchers_allow(self) -> None:
        assert self.node.charged_wei <= self.node.ceiling_wei <= self.payer.tab.ceiling_wei

    @invariant()
    def the_payer_knows_of_all_that_it_may_owe(self) -> None:
        tab = self.payer.tab
        assert tab.charged_wei <= self.node.charged_wei <= tab.ceiling_wei
        assert tab.owed_wei + tab.lost_wei <= tab.ceiling_wei

    @invariant()
    def a_payer_risks_the_prompt_and_one_chunk_a_stream(self) -> None:
        """Beyond what it has seen: of each stream that runs, or was lost and has no receipt; and a wei a voucher."""
        seen = sum(
            max(self.price(stream.num_seen), self.charged(stream)) for stream in self.streams if stream.num_seen
        )
        unsure = sum(not stream.is_done or stream.is_lost for stream in self.streams)
        ended = sum(self.overpaid(stream) for stream in self.streams if stream.is_done)
        assert self.payer.tab.ceiling_wei <= seen + unsure * (FIRST_WEI + CHUNK_WEI) + ended + 1000

    def charged(self, stream: Stream) -> int:
        """The charge of a receipt that the payer has taken."""
        return stream.amount_wei if stream.is_done and not stream.is_lost else 0

    def overpaid(self, stream: Stream) -> int:
        """The amount that was paid ahead in a stream that is over, which counts for the next one."""
        return max(0, self.price(stream.num_paid) - (self.price(stream.num_seen) if stream.num_seen else 0))


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


Channel.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestChannel = Channel.TestCase
Overcharged.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestOvercharged = Overcharged.TestCase
