"""The state machine of a request, with bids, texts, failures and cancellations in any order that a shell may send."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.market_world.requests import network_request
from support.market_world.terms import TERMS, price, priced, wallet_of, word
from support.offers import BID

from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.errors import NetworkError
from openledger_node.market import steps
from openledger_node.market.answering import ROUNDS_MAX, Answering, IllegalEventError, State
from openledger_node.market.calls import ReceivedBid
from openledger_node.market.progress import RequestProgress
from openledger_node.market.request import RemoteAnswer
from openledger_node.p2p.transport import PeerId
from openledger_node.payments.purchase import Bought, CalledMalformedError
from openledger_protocol.errors import (
    OldChannelError,
    OverloadedError,
    PaymentRequiredError,
    ProtocolError,
    ReceiptRefusedError,
    UnavailableError,
)
from openledger_protocol.payments import Receipt
from openledger_protocol.primitives import ZERO_WEI, Digest, Wei

STALL_S, TOKENS_IN, TOKENS_MAX = 15.0, 5, 40
BUDGET_WEI = price(TOKENS_IN, 3 * TOKENS_MAX)
SELLERS = ("a", "b", "c", "d")
REFUSALS: tuple[ProtocolError | NetworkError, ...] = (
    OldChannelError("another generation"),
    OverloadedError("full"),
    CalledMalformedError("unreadable"),
    NetworkError("it left"),
    ReceiptRefusedError("it lies"),
)


def bid(name: str, *, times: float = 1, at_s: float = 0, wallet: str = "") -> ReceivedBid:
    message = replace(BID, wallet=wallet_of(wallet or name), terms=priced(TERMS, times))
    return ReceivedBid(
        peer_id=PeerId(name),
        message=message,
        messages=None,  # type: ignore[arg-type]  # the state machine sends nothing
        at_s=at_s,
        round_trip_ms=0,
    )


def bought(text: str, *, is_whole: bool, terms_times: float = 1, tokens_in: int = TOKENS_IN) -> Bought:
    ids = (*text.encode(), ByteTokenizer.end_id) if is_whole else tuple(text.encode())
    amount_wei = price(tokens_in, len(text), terms_times)
    receipt = cast(Receipt, SimpleNamespace(amount_wei=amount_wei))
    why_cut = None if is_whole else UnavailableError("it is stopping")
    return Bought(text=text, ids=ids, receipt=receipt, digest=Digest(word("r")), shares=(), why_cut=why_cut)


def progress_of(budget_wei: Wei = BUDGET_WEI) -> RequestProgress:
    return RequestProgress(
        requested=network_request(max_tokens=TOKENS_MAX),
        entry=None,
        tokenizer=ByteTokenizer(),
        tokens_in=TOKENS_IN,
        budget_wei=budget_wei,
    )


class Request(RuleBasedStateMachine):
    """A shell that answers each action in any way that it may be answered."""

    def __init__(self) -> None:
        super().__init__()
        self.progress = progress_of()
        self.machine = Answering(self.progress, stall_timeout_s=STALL_S)
        self.now_s = 0.0
        self.asked: steps.Action | None = None  # the action that is not answered yet
        self.shown = self.of_part = ""
        self.inside: list[str] = []  # wallets that were entered and not left
        self.held: list[Wei] = []
        self.spent_wei = 0
        self.num_calls = 0
        self.opened: list[PeerId] = []
        self.ends: list[RemoteAnswer | ProtocolError] = []
        self.is_cancelled = False

    def send(self, event: steps.Event) -> None:
        self.execute(self.machine.receive_event(event))

    def execute(self, actions: list[steps.Action]) -> None:
        for action in actions:
            match action:
                case steps.SettleMoney():
                    assert action.spent_wei <= self.held.pop(), "no more is spent than was granted"
                    self.spent_wei += action.spent_wei
                case steps.LeaveSeller():
                    self.inside.remove(action.wallet)
                case steps.ReturnAnswer():
                    self.ends.append(action.answer)
                case steps.RaiseError():
                    self.ends.append(action.error)
                case _:
                    assert action is actions[-1], "one question at a time"
                    self.asked = action

    @property
    def is_over(self) -> bool:
        return bool(self.ends) or self.is_cancelled

    def asks(self, kind: type[steps.Action]) -> bool:
        return not self.is_over and isinstance(self.asked, kind)

    # ---- the shell's answers

    @precondition(lambda self: self.machine.state is State.NEW)
    @rule()
    def begin(self) -> None:
        self.send(steps.Begun())

    @precondition(lambda self: self.asks(steps.CallSellers))
    @rule(data=st.data())
    def rank(self, data: st.DataObject) -> None:
        """Any bids in any order, also of sellers that were tried, some dear, and some of one wallet."""
        self.num_calls += 1
        names = data.draw(st.lists(st.sampled_from(SELLERS), unique=True))
        times = data.draw(st.sampled_from([0.5, 1, 2, 50]))
        wallet = data.draw(st.sampled_from(["", "", "one wallet"]))
        self.send(steps.BidsRanked(bids=[bid(name, times=times, at_s=self.now_s, wallet=wallet) for name in names]))

    @precondition(lambda self: self.asks(steps.CallSellers))
    @rule()
    def find_nobody(self) -> None:
        self.send(steps.NobodyLeft())

    @precondition(lambda self: self.asks(steps.EnterSeller))
    @rule(has_room=st.booleans(), later_s=st.sampled_from([0.0, 0.0, 1.0, 10.0]))
    def enter(self, has_room: bool, later_s: float) -> None:
        assert isinstance(self.asked, steps.EnterSeller)
        self.now_s += later_s
        if has_room:
            self.inside.append(self.asked.wallet)
        self.send(steps.SellerEntered(at_s=self.now_s) if has_room else steps.SellerFull())

    @precondition(lambda self: self.asks(steps.HoldMoney))
    @rule(data=st.data(), is_refused=st.sampled_from([False, False, False, True]))
    def hold(self, data: st.DataObject, is_refused: bool) -> None:
        assert isinstance(self.asked, steps.HoldMoney)
        least, most = self.asked.least_wei, self.asked.most_wei
        assert self.spent_wei + most <= BUDGET_WEI
        if is_refused:
            self.send(steps.MoneyRefused(error=PaymentRequiredError("today's limit")))
            return
        self.held.append(Wei(data.draw(st.integers(least, most))))
        self.send(steps.MoneyHeld(granted_wei=self.held[-1]))

    @precondition(lambda self: self.asks(steps.BuyPart) and self.machine.state is State.PREPARING)
    @rule(is_ready=st.sampled_from([True, True, False]))
    def prepare(self, is_ready: bool) -> None:
        assert isinstance(self.asked, steps.BuyPart)
        assert self.progress.text == self.shown, "the next seller continues from the text delivered"
        assert 1 <= self.asked.tokens_max <= TOKENS_MAX - len(self.shown)
        if is_ready:
            self.opened.append(self.asked.received.peer_id)
            self.of_part = ""
            self.send(steps.Prepared(at_s=self.now_s))
        else:
            self.send(steps.NotPrepared(error=UnavailableError("no channel")))

    @precondition(lambda self: self.machine.state is State.OPENING)
    @rule()
    def open(self) -> None:
        self.send(steps.StreamOpened())

    @precondition(lambda self: self.machine.state is State.STREAMING and self.room() > 0)
    @rule(data=st.data())
    def stream(self, data: st.DataObject) -> None:
        """A piece that the purchase allows, and the reader's time for it."""
        text = data.draw(st.text("xyz", min_size=1, max_size=self.room()))
        (action,) = self.machine.receive_event(steps.TextReceived(text=text, at_s=self.now_s))
        assert action == steps.ShowText(text=text)
        self.shown += text
        self.of_part += text

    @precondition(lambda self: self.machine.state is State.SHOWING)
    @rule(took_s=st.sampled_from([0.0, 100.0]))
    def show(self, took_s: float) -> None:
        assert self.machine.deadline_s > self.now_s + took_s, "a slow reader is not the seller's fault"
        self.now_s += took_s
        self.send(steps.TextShown(at_s=self.now_s))
        assert self.machine.deadline_s == self.now_s + STALL_S

    @precondition(lambda self: self.machine.state is State.STREAMING and self.of_part)
    @rule(is_whole=st.booleans())
    def end(self, is_whole: bool) -> None:
        assert isinstance(self.asked, steps.BuyPart)
        times = self.asked.received.message.terms.price_in_wei / TERMS.price_in_wei
        tokens_in = TOKENS_IN + len(self.shown) - len(self.of_part)
        part = bought(self.of_part, is_whole=is_whole, terms_times=times, tokens_in=tokens_in)
        self.send(steps.PartBought(bought=part, at_s=self.now_s))

    @precondition(lambda self: self.machine.state in (State.OPENING, State.STREAMING, State.SHOWING))
    @rule(error=st.sampled_from(REFUSALS), has_delivered=st.booleans())
    def fail(self, error: ProtocolError | NetworkError, has_delivered: bool) -> None:
        """The seller refuses, leaves or stalls; or its receipt is wrong, after an answer that came whole."""
        if isinstance(error, ReceiptRefusedError):
            ids = (*self.of_part.encode(), ByteTokenizer.end_id)
            error = ReceiptRefusedError("it lies", **({"ids": ids} if has_delivered else {}))
        self.send(steps.PartFailed(error=error, at_s=self.now_s))

    @precondition(lambda self: self.asks(steps.NoteOutcome))
    @rule()
    def note(self) -> None:
        self.send(steps.OutcomeNoted())

    @rule(is_sure=st.sampled_from([False] * 9 + [True]))
    def cancel(self, is_sure: bool) -> None:
        if is_sure:
            self.execute(self.machine.receive_event(steps.Cancelled()))
            self.is_cancelled = True

    @rule(data=st.data())
    def mistake(self, data: st.DataObject) -> None:
        """Send an event that answers nothing: a bid that comes late, a second receipt, a text after the end."""
        error, late = UnavailableError("late"), self.now_s
        events: dict[steps.Event, set[State]] = {
            steps.Begun(): {State.NEW},
            steps.SellerEntered(at_s=late): {State.ENTERING},
            steps.MoneyHeld(granted_wei=ZERO_WEI): {State.HOLDING},
            steps.NotPrepared(error=error): {State.PREPARING},
            steps.StreamOpened(): {State.OPENING},
            steps.TextReceived(text="late", at_s=late): {State.STREAMING},
            steps.TextShown(at_s=late): {State.SHOWING},
            steps.PartFailed(error=error, at_s=late): {State.OPENING, State.STREAMING, State.SHOWING},
            steps.OutcomeNoted(): {State.NOTING},
            steps.NobodyLeft(): {State.CALLING},
        }
        illegal = [event for event, states in events.items() if self.machine.state not in states]
        state, text = self.machine.state, self.progress.text
        with pytest.raises(IllegalEventError, match=f"while {state.value}"):
            self.machine.receive_event(data.draw(st.sampled_from(illegal)))
        with pytest.raises(IllegalEventError):
            self.machine.receive_event(steps.BidsRanked(bids=[]) if state is not State.CALLING else steps.Begun())
        assert (self.machine.state, self.progress.text) == (state, text)

    def room(self) -> int:
        """The tokens that the seller may still deliver for what was granted."""
        assert isinstance(self.asked, steps.BuyPart)
        part, tokens_in = self.asked, TOKENS_IN + len(self.shown) - len(self.of_part)
        times = part.received.message.terms.price_in_wei / TERMS.price_in_wei
        left = part.tokens_max - len(self.of_part)
        while left > 0 and price(tokens_in, len(self.of_part) + left, times) > part.granted_wei:
            left -= 1
        return left

    # ---- what holds at any time

    @invariant()
    def one_seller_at_a_time_is_paid(self) -> None:
        assert len(self.inside) <= 1
        assert len(self.held) <= len(self.inside)

    @invariant()
    def no_more_is_spent_than_the_request_may_cost(self) -> None:
        assert self.spent_wei <= BUDGET_WEI
        assert self.is_cancelled or self.spent_wei == self.progress.spent_wei

    @invariant()
    def a_seller_has_a_second_chance_only_with_a_new_ledger(self) -> None:
        assert all(self.opened.count(name) <= 1 + (name in self.progress.renewed) for name in self.opened)

    @invariant()
    def sellers_are_called_a_few_times(self) -> None:
        assert self.num_calls <= ROUNDS_MAX

    @invariant()
    def a_request_ends_once_and_then_holds_nothing(self) -> None:
        assert len(self.ends) <= 1
        if self.is_over:
            assert (self.machine.state, self.inside, self.held) == (State.ENDED, [], [])

    @invariant()
    def the_answer_is_the_text_that_was_shown(self) -> None:
        for end in self.ends:
            if isinstance(end, RemoteAnswer):
                assert end.text == self.shown == "".join(part.text for part in end.parts)
                assert end.tokens_out == len(self.shown) <= TOKENS_MAX


Request.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestRequest = Request.TestCase


def test_each_state_is_left_by_a_cancellation_that_frees_what_it_holds() -> None:
    """Money from the hold until the part has ended, and the wallet's place until the outcome is noted."""
    offer = bid("a")
    way: list[tuple[steps.Event, list[type[steps.Action]]]] = [
        (steps.Begun(), []),
        (steps.BidsRanked(bids=[offer]), []),
        (steps.SellerEntered(at_s=0), [steps.LeaveSeller]),
        (steps.MoneyHeld(granted_wei=BUDGET_WEI), [steps.SettleMoney, steps.LeaveSeller]),
        (steps.Prepared(at_s=0), [steps.SettleMoney, steps.LeaveSeller]),
        (steps.StreamOpened(), [steps.SettleMoney, steps.LeaveSeller]),
        (steps.TextReceived(text="abc", at_s=1), [steps.SettleMoney, steps.LeaveSeller]),
        (steps.TextShown(at_s=1), [steps.SettleMoney, steps.LeaveSeller]),
        (steps.PartFailed(error=NetworkError("it left"), at_s=2), [steps.LeaveSeller]),
    ]
    for length in range(1, len(way) + 1):
        machine = Answering(progress_of(), stall_timeout_s=STALL_S)
        for event, _ in way[:length]:
            machine.receive_event(event)
        undone = machine.receive_event(steps.Cancelled())
        assert [type(action) for action in undone] == way[length - 1][1]
        assert machine.receive_event(steps.Cancelled()) == []
        spent = [action.spent_wei for action in undone if isinstance(action, steps.SettleMoney)]
        assert spent in ([], [price(TOKENS_IN, 3) if 7 <= length <= 8 else 0])


def test_the_next_best_seller_continues_from_the_text_and_its_beginning_is_its_prompt() -> None:
    progress = progress_of()
    machine = Answering(progress, stall_timeout_s=STALL_S)
    actions: list[steps.Action] = []
    for event in (
        steps.Begun(),
        steps.BidsRanked(bids=[bid("best"), bid("next")]),
        steps.SellerEntered(at_s=0),
        steps.MoneyHeld(granted_wei=BUDGET_WEI),
        steps.Prepared(at_s=0),
        steps.StreamOpened(),
        steps.TextReceived(text="abc", at_s=1),
        steps.TextShown(at_s=1),
        steps.PartFailed(error=NetworkError("it left"), at_s=2),
        steps.OutcomeNoted(),
        steps.SellerEntered(at_s=2),
        steps.MoneyHeld(granted_wei=BUDGET_WEI),
    ):
        actions = machine.receive_event(event)
    (buy,) = actions
    assert isinstance(buy, steps.BuyPart)
    assert (buy.received.peer_id, buy.tokens_max) == ("next", TOKENS_MAX - 3)
    assert (progress.text, progress.tokens_before) == ("abc", TOKENS_IN + 3)
