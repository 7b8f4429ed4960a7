"""The state machine of a request, with bids, texts, failures and cancellations in any order that a shell may send."""

from dataclasses import replace
from types import SimpleNamespace
from typing import TypeVar, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.market_world.requests import network_request
from support.market_world.terms import TERMS, price, word
from support.tiers import depth

from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.errors import NetworkError
from openledger_node.market import steps
from openledger_node.market.answering import ROUNDS_MAX, Answering, IllegalEventError, State
from openledger_node.market.calls import ReceivedBid
from openledger_node.market.progress import RequestProgress
from openledger_node.market.request import RemoteAnswer
from openledger_node.p2p.transport import PeerId
from openledger_node.payments.purchase import Bought, CalledMalformedError
from openledger_protocol import errors
from openledger_protocol.errors import PaymentRequiredError, ProtocolError, ReceiptRefusedError, UnavailableError
from openledger_protocol.payments import Receipt
from openledger_protocol.primitives import ZERO_WEI, Digest, Wei

from .conftest import received_bid

Choice = TypeVar("Choice")
STALL_S, TOKENS_IN, TOKENS_MAX, CHUNK_TOKENS = 15.0, 5, 40, 8
BUDGET_WEI = price(TOKENS_IN, TOKENS_MAX)  # so dear sellers end at it
SELLERS = ("a", "b", "c", "d")
REFUSALS: tuple[ProtocolError | NetworkError, ...] = (
    errors.OldChannelError("another generation"),
    errors.OverloadedError("full"),
    CalledMalformedError("unreadable"),
    NetworkError("it left"),
    ReceiptRefusedError("it lies"),
)


def bought(text: str, *, is_whole: bool, times: float = 1, tokens_in: int = TOKENS_IN) -> Bought:
    ids = (*text.encode(), ByteTokenizer.end_id) if is_whole else tuple(text.encode())
    amount_wei = price(tokens_in, len(text.encode()), times)
    receipt = cast(Receipt, SimpleNamespace(amount_wei=amount_wei))
    why_cut = None if is_whole else UnavailableError("it is stopping")
    return Bought(text=text, ids=ids, receipt=receipt, digest=Digest(word("r")), shares=(), why_cut=why_cut)


def progress_of(budget_wei: Wei = BUDGET_WEI) -> RequestProgress:
    return RequestProgress(
        requested=network_request(max_tokens=TOKENS_MAX),
        entry=None,
        rules=(1,),
        tokenizer=ByteTokenizer(),
        tokens_in=TOKENS_IN,
        budget_wei=budget_wei,
    )


class Shell:
    """It answers each action in any way that it may be answered, and asserts what must hold at any time."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.progress = progress_of()
        self.machine = Answering(self.progress, stall_timeout_s=STALL_S)
        self.now_s = 0.0
        self.asked: steps.Action = steps.CallSellers()  # the action that is not answered yet
        self.shown = self.of_part = ""
        self.inside: list[str] = []  # wallets that were entered and not left
        self.held: list[Wei] = []
        self.spent_wei = self.num_calls = 0
        self.charged_wei = 0  # by receipts, or by sellers that show theirs later, for all they were paid
        self.paid_wei = 0  # for the part that is being bought
        self.num_paid = 0
        self.bought_from: list[PeerId] = []
        self.ends: list[RemoteAnswer | ProtocolError] = []
        self.is_cancelled = False

    def draw(self, *choices: Choice) -> Choice:
        return self.data.draw(st.sampled_from(choices))

    def run(self) -> None:
        self.send(steps.Begun())
        while not self.is_over:
            self.check()
            self.mistake()
            if self.draw(*[False] * 30, True):
                self.execute(self.machine.receive_event(steps.Cancelled()))
                self.is_cancelled = True
            else:
                self.advance()
        self.check()
        self.mistake()

    def advance(self) -> None:
        match self.machine.state:
            case State.CALLING:
                self.call()
            case State.ENTERING:
                self.enter()
            case State.HOLDING:
                self.hold()
            case State.PREPARING:
                self.prepare()
            case State.OPENING:
                self.send(steps.StreamOpened(at_s=self.now_s)) if self.draw(True, True, True, False) else self.fail()
            case State.STREAMING:
                self.stream()
            case State.SHOWING:
                self.show() if self.draw(True, True, True, True, False) else self.fail()
            case _:
                self.send(steps.OutcomeNoted())

    def send(self, event: steps.RequestEvent) -> None:
        self.execute(self.machine.receive_event(event))

    def execute(self, actions: list[steps.Action]) -> None:
        for action in actions:
            match action:
                case steps.SettleMoney():
                    spent_wei = action.spent_wei + action.lost_wei
                    assert spent_wei <= self.held.pop(), "no more is spent than was granted"
                    self.spent_wei += spent_wei
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

    # ---- the shell's answers

    def call(self) -> None:
        """Any bids in any order, also of sellers that were tried, some dear, and some of one wallet."""
        self.num_calls += 1
        if self.draw(*[False] * 9, True):
            self.send(steps.NobodyLeft())
            return
        names = self.data.draw(st.lists(st.sampled_from(SELLERS), unique=True, min_size=1))
        times, wallet = self.draw(0.5, 1.0, 2.0, 50.0), self.draw("", "", "one wallet")
        bids = [received_bid(name, times=times, at_s=self.now_s, wallet=wallet) for name in names]
        self.send(steps.BidsRanked(bids=bids))

    def enter(self) -> None:
        assert isinstance(self.asked, steps.EnterSeller)
        self.now_s += self.draw(0.0, 0.0, 1.0, 10.0)
        if self.draw(True, True, True, False):
            self.inside.append(self.asked.wallet)
            self.send(steps.SellerEntered(at_s=self.now_s))
        else:
            self.send(steps.SellerFull())

    def hold(self) -> None:
        assert isinstance(self.asked, steps.HoldMoney)
        least, most = self.asked.least_wei, self.asked.most_wei
        assert self.spent_wei + most <= BUDGET_WEI
        if self.draw(*[False] * 9, True):
            self.send(steps.MoneyRefused(error=PaymentRequiredError("today's limit")))
            return
        self.held.append(self.draw(least, most))
        self.send(steps.MoneyHeld(granted_wei=self.held[-1]))

    def prepare(self) -> None:
        assert isinstance(self.asked, steps.BuyPart)
        assert self.progress.text == self.shown, "the next seller continues from the text delivered"
        assert self.progress.tokens_before == TOKENS_IN + len(self.shown.encode())
        assert 1 <= self.asked.tokens_max <= TOKENS_MAX - len(self.shown.encode())
        if self.draw(True, True, True, False):
            self.bought_from.append(self.asked.received.peer_id)
            self.of_part, self.paid_wei, self.num_paid = "", 0, 0
            self.send(steps.PurchaseReady(at_s=self.now_s))
        else:
            self.send(steps.PurchaseNotReady(error=UnavailableError("no channel")))

    def stream(self) -> None:
        """A piece that the purchase allows, the end of the part, or a failure."""
        self.pay_ahead()
        room = self.num_paid - len(self.of_part.encode())
        what = self.draw("text", "text", "end", "fail")
        if what == "text" and room > 0:
            text = self.draw("x", *(["é"] if room > 1 else []), "w" * min(room, 7), "w" * room)
            (action,) = self.machine.receive_event(steps.TextReceived(text=text, at_s=self.now_s))
            assert action == steps.ShowText(text=text)
            self.shown += text
            self.of_part += text
        elif what == "end" and self.of_part:
            self.end()
        else:
            self.fail()

    def pay_ahead(self) -> None:
        """A payer pays a chunk ahead, before its text comes, as far as it was granted."""
        num_ahead = min(self.room(), CHUNK_TOKENS)
        if num_ahead > 0 and self.num_paid < len(self.of_part.encode()) + num_ahead:
            self.num_paid = len(self.of_part.encode()) + num_ahead
            tokens_in = TOKENS_IN + len(self.shown.encode()) - len(self.of_part.encode())
            self.paid_wei = price(tokens_in, self.num_paid, self.times)
            self.send(steps.PaidAhead(paid_wei=Wei(self.paid_wei), at_s=self.now_s))

    def show(self) -> None:
        took_s = self.draw(0.0, 100.0)
        assert self.machine.deadline_s > self.now_s + took_s, "a slow reader is not the seller's fault"
        self.now_s += took_s
        self.send(steps.TextShown(at_s=self.now_s))
        assert self.machine.deadline_s == self.now_s + STALL_S

    def end(self) -> None:
        tokens_in = TOKENS_IN + len(self.shown.encode()) - len(self.of_part.encode())
        part = bought(self.of_part, is_whole=self.draw(True, False), times=self.times, tokens_in=tokens_in)
        self.paid_wei = part.receipt.amount_wei
        self.charge()
        self.send(steps.PartBought(bought=part, at_s=self.now_s))

    def fail(self) -> None:
        """The seller refuses, leaves or stalls; or its receipt is wrong, after an answer that came whole."""
        error = self.draw(*REFUSALS)
        if isinstance(error, ReceiptRefusedError) and self.draw(True, False):
            error = ReceiptRefusedError("it lies", ids=(*self.of_part.encode(), ByteTokenizer.end_id))
        if self.paid_wei and not self.of_part and self.draw(True, False):
            self.paid_wei = 0  # by its own word it is owed nothing
            self.send(steps.PaidAhead(paid_wei=ZERO_WEI, at_s=self.now_s))
        self.charge()
        self.send(steps.PartFailed(error=error, at_s=self.now_s))

    def charge(self) -> None:
        self.charged_wei, self.paid_wei = self.charged_wei + self.paid_wei, 0

    def mistake(self) -> None:
        """An event that answers nothing changes nothing: late bids, a second receipt, a text after the end."""
        error, late = UnavailableError("late"), self.now_s
        events: list[tuple[steps.RequestEvent, set[State]]] = [
            (steps.Begun(), {State.NEW}),
            (steps.BidsRanked(bids=[received_bid("late")]), {State.CALLING}),
            (steps.NobodyLeft(), {State.CALLING}),
            (steps.SellerEntered(at_s=late), {State.ENTERING}),
            (steps.SellerFull(), {State.ENTERING}),
            (steps.MoneyHeld(granted_wei=BUDGET_WEI), {State.HOLDING}),
            (steps.MoneyRefused(error=PaymentRequiredError("late")), {State.HOLDING}),
            (steps.PurchaseReady(at_s=late), {State.PREPARING}),
            (steps.PurchaseNotReady(error=error), {State.PREPARING}),
            (steps.StreamOpened(at_s=late), {State.OPENING}),
            (steps.PaidAhead(paid_wei=BUDGET_WEI, at_s=late), {State.STREAMING}),
            (steps.TextReceived(text="late", at_s=late), {State.STREAMING}),
            (steps.TextShown(at_s=late), {State.SHOWING}),
            (steps.PartBought(bought=bought("late", is_whole=True), at_s=late), {State.STREAMING}),
            (steps.PartFailed(error=error, at_s=late), {State.OPENING, State.STREAMING, State.SHOWING}),
            (steps.OutcomeNoted(), {State.NOTING}),
        ]
        state, text = self.machine.state, self.progress.text
        for event in (event for event, legal in events if state not in legal):
            with pytest.raises(IllegalEventError, match=f"{type(event).__name__} while {state.value}"):
                self.machine.receive_event(event)
        assert (self.machine.state, self.progress.text) == (state, text)

    @property
    def times(self) -> float:
        assert isinstance(self.asked, steps.BuyPart)
        return self.asked.received.message.terms.price_in_wei / TERMS.price_in_wei

    def room(self) -> int:
        """The tokens that the seller may still deliver for what was granted."""
        assert isinstance(self.asked, steps.BuyPart)
        num_part = len(self.of_part.encode())
        tokens_in, left = TOKENS_IN + len(self.shown.encode()) - num_part, self.asked.tokens_max - num_part
        while left > 0 and price(tokens_in, num_part + left, self.times) > self.asked.granted_wei:
            left -= 1
        return left

    def check(self) -> None:
        assert len(self.held) <= len(self.inside) <= 1, "one seller at a time is paid"
        assert self.charged_wei + self.paid_wei <= BUDGET_WEI, "whatever sellers show later"
        assert self.spent_wei <= BUDGET_WEI
        assert self.is_cancelled or self.spent_wei == self.progress.spent_wei
        assert self.num_calls <= ROUNDS_MAX
        for name in self.bought_from:
            assert self.bought_from.count(name) <= 1 + (name in self.progress.renewed), "only with a new ledger"
        if not self.is_over:
            return
        assert (self.machine.state, self.inside, self.held) == (State.ENDED, [], [])
        assert len(self.ends) <= 1
        for end in self.ends:
            if isinstance(end, RemoteAnswer):
                assert end.text == self.shown == "".join(part.text for part in end.parts)
                assert end.tokens_out == len(self.shown.encode()) <= TOKENS_MAX


@settings(max_examples=depth(light=40, deep=1_000), deadline=None)
@given(st.data())
def test_a_request_ends_once_whatever_happens_and_each_token_is_shown_and_paid_once(data: st.DataObject) -> None:
    Shell(data).run()


def test_each_state_is_left_by_a_cancellation_that_frees_what_it_holds() -> None:
    """Money from the hold until the part has ended, and the wallet's place until the outcome is noted."""
    offer = received_bid("a")
    way: list[tuple[steps.RequestEvent, list[type[steps.Action]]]] = [
        (steps.Begun(), []),
        (steps.BidsRanked(bids=[offer]), []),
        (steps.SellerEntered(at_s=0), [steps.LeaveSeller]),
        (steps.MoneyHeld(granted_wei=BUDGET_WEI), [steps.SettleMoney, steps.LeaveSeller]),
        (steps.PurchaseReady(at_s=0), [steps.SettleMoney, steps.LeaveSeller]),
        (steps.StreamOpened(at_s=0), [steps.SettleMoney, steps.LeaveSeller]),
        (steps.PaidAhead(paid_wei=price(TOKENS_IN, 8), at_s=0), [steps.SettleMoney, steps.LeaveSeller]),
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
        lost = [action.lost_wei for action in undone if isinstance(action, steps.SettleMoney)]
        assert lost in ([], [price(TOKENS_IN, 8) if 7 <= length <= 9 else 0])


@pytest.mark.parametrize(
    ("others", "wait_s"),
    [
        ([], STALL_S + 0.12),
        ([received_bid("next")], 5 + 4 * 0.12),
        ([received_bid("next", at_s=-60)], STALL_S + 0.12),
        ([received_bid("next", wallet="best")], STALL_S + 0.12),
    ],
    ids=["nobody", "another", "one whose bid has expired", "one of the same wallet"],
)
def test_the_first_text_is_waited_for_less_if_there_is_another_bid(others: list[ReceivedBid], wait_s: float) -> None:
    """The bid promises the first token in 0.12 s; four times that is a failure in any case."""
    machine = streaming_with(others)
    assert (machine.deadline_s, machine.silence_s) == (wait_s, wait_s)
    machine.receive_event(steps.TextReceived(text="abc", at_s=1))
    machine.receive_event(steps.TextShown(at_s=1))
    assert (machine.deadline_s, machine.silence_s) == (1 + STALL_S, STALL_S), "a pause may be longer than a start"


def test_a_far_bidder_has_four_times_its_two_round_trips_and_a_short_stall_timeout_holds_for_all() -> None:
    far = replace(received_bid("far"), round_trip_ms=1_000)
    assert streaming_with([received_bid("next")], best=far).silence_s == 5 + 4 * 2
    assert streaming_with([received_bid("next")], stall_s=1).silence_s == 1.12


def test_a_seller_that_takes_a_request_and_gives_nothing_has_defaulted_at_any_price() -> None:
    for times in (0.0, 1.0):
        progress, free = progress_of(), received_bid("best", times=times)
        machine = streaming_with([received_bid("next")], best=free, progress=progress, times=times)
        machine.receive_event(steps.PartFailed(error=NetworkError("gave nothing for 6 s"), at_s=6))
        assert progress.defaulted == {free.message.wallet}
        assert progress.wanted().is_wary


def test_the_time_that_the_buyer_took_is_neither_waited_for_nor_counted_as_the_sellers() -> None:
    """A buyer with a busy disk stored its first voucher after 5 s; the seller's first text came 1 s later."""
    machine = streaming_with([received_bid("next")], asked_s=5)
    assert machine.deadline_s == 5 + 5 + 4 * 0.12
    machine.receive_event(steps.TextReceived(text="abc", at_s=6))
    machine.receive_event(steps.TextShown(at_s=60))
    actions = machine.receive_event(steps.PartBought(bought=bought("abc", is_whole=True), at_s=64))
    (attempt,) = (action.attempt for action in actions if isinstance(action, steps.NoteOutcome))
    assert (attempt.outcome(), attempt.first_s, attempt.took_s) == ("successes", 1, 1)


def streaming_with(
    others: list[ReceivedBid],
    *,
    best: ReceivedBid | None = None,
    stall_s: float = STALL_S,
    progress: RequestProgress | None = None,
    times: float = 1,
    asked_s: float = 0,
) -> Answering:
    """A request whose stream to the best bidder is open, with other bids behind it."""
    machine = Answering(progress or progress_of(Wei(10**18)), stall_timeout_s=stall_s)
    for event in (
        steps.Begun(),
        steps.BidsRanked(bids=[best or received_bid("best"), *others]),
        steps.SellerEntered(at_s=0),
        steps.MoneyHeld(granted_wei=BUDGET_WEI),
        steps.PurchaseReady(at_s=0),
        steps.StreamOpened(at_s=0),
        steps.PaidAhead(paid_wei=price(TOKENS_IN, 8, times), at_s=asked_s),
    ):
        machine.receive_event(event)
    return machine
