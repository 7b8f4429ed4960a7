"""The state machine of one request: it receives events and returns actions, and has no I/O and no clock.

`Requester` is the shell that executes the actions. `RequestProgress` counts money, sellers and texts. The diagram of
the states is in `docs/explanation/market.md`.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from openledger_protocol.errors import ProtocolError
from openledger_protocol.inference import FinishReason
from openledger_protocol.payments import price_wei
from openledger_protocol.primitives import ZERO_WEI, Wei

from . import steps
from .attempt import Attempt
from .award import FIRST_TOKENS, too_expensive
from .calls import ReceivedBid
from .progress import RequestProgress

ROUNDS_MAX: Final = 8
"""Calls for one answer. A bid that expired while another node answered, or while a newcomer was busy, must be
requested again. A newcomer takes twice as many requests at a time in each round, so these are enough for 255."""


class State(Enum):
    """The state of a request, which decides the events that are legal."""

    NEW = "new"
    CALLING = "calling"  # sellers, for bids
    ENTERING = "entering"  # the next best seller, if its wallet has room
    HOLDING = "holding"  # money
    PREPARING = "preparing"  # the purchase: signer, adapter, channel
    OPENING = "opening"  # the stream
    STREAMING = "streaming"
    SHOWING = "showing"  # a piece of text to the reader
    NOTING = "noting"  # the outcome of an attempt
    ENDED = "ended"


class IllegalEventError(Exception):
    """A mistake of the shell: the event can't happen in this state."""


class Answering:
    """One request on its way through the network: one seller at a time, each continuing the text of the last."""

    def __init__(self, progress: RequestProgress, *, stall_timeout_s: float) -> None:
        self._progress = progress
        self._stall_timeout_s = stall_timeout_s
        self.state = State.NEW
        self._num_calls = 0
        self._queue: deque[tuple[ReceivedBid, bool]] = deque()  # bids to try, and whether to wait for room
        self._received: ReceivedBid | None = None  # the bid that is tried
        self._granted_wei = ZERO_WEI  # for the part that is being bought
        self._attempt: Attempt | None = None  # the last one

    def receive_event(self, event: steps.RequestEvent) -> list[steps.Action]:
        """Move on by one event; return what the shell must do next, in this order.

        Raises:
            IllegalEventError: the event can't happen in this state.
        """
        if isinstance(event, steps.Cancelled):
            return self._cancel()
        step = _STEPS.get((self.state, type(event)))
        if step is None:
            raise IllegalEventError(f"{type(event).__name__} while {self.state.value}")
        return step(self, event)

    @property
    def deadline_s(self) -> float:
        """The time until which the seller may be silent, by the clock of the events."""
        return self._running.deadline_s

    @property
    def silence_s(self) -> float:
        """The longest silence that the seller is allowed now."""
        return self._running.silence_s

    def _call(self, _: steps.RequestEvent | None = None) -> list[steps.Action]:
        self._queue.clear()
        if self._num_calls == ROUNDS_MAX:
            return self._fail(self._progress.failure())
        self.state, self._num_calls = State.CALLING, self._num_calls + 1
        return [steps.CallSellers()]

    def _rank(self, event: steps.BidsRanked) -> list[steps.Action]:
        # A newcomer that is busy with another request is waited for only if no other bidder has answered.
        self._queue.extend((bid, may_wait) for may_wait in (False, True) for bid in event.bids)
        return self._try_next()

    def _give_up(self, _: steps.NobodyLeft) -> list[steps.Action]:
        return self._fail(self._progress.failure())

    def _try_next(self, _: steps.RequestEvent | None = None) -> list[steps.Action]:
        """Try the next best seller that was not tried yet; call again if none is left."""
        while self._queue:
            self._received, may_wait = self._queue.popleft()
            if self._is_left(self._received):
                self.state = State.ENTERING
                return [steps.EnterSeller(wallet=self._received.message.wallet, may_wait=may_wait)]
        return self._call()

    def _is_left(self, received: ReceivedBid) -> bool:
        """True for a bid that may still be tried."""
        is_passed_over = received.message.wallet in self._progress.passed_over
        return received.peer_id not in self._progress.tried and not is_passed_over

    def _is_alternative(self, received: ReceivedBid, at_s: float) -> bool:
        """True for a bid that could be tried if the present one fails."""
        is_other = received.message.wallet != self._bid.message.wallet
        return is_other and self._is_left(received) and received.is_valid_at(at_s)

    def _enter(self, event: steps.SellerEntered) -> list[steps.Action]:
        received = self._bid
        if not received.is_valid_at(event.at_s):
            return [self._leave(), *self._call()]  # it expired while other nodes answered
        self._progress.tried.add(received.peer_id)
        tokens_in, tokens_max, terms = self._progress.tokens_before, self._tokens_max, received.message.terms
        least = price_wei(tokens_in, min(tokens_max, FIRST_TOKENS), terms)
        most = Wei(min(self._progress.left_wei, price_wei(tokens_in, tokens_max, terms)))
        if least > self._progress.left_wei:
            self._progress.blame(received.peer_id, too_expensive(least, self._progress.left_wei))
        else:
            self.state = State.HOLDING
            return [steps.HoldMoney(least_wei=least, most_wei=most)]
        return [self._leave(), *self._try_next()]

    def _end_at_limit(self, event: steps.MoneyRefused) -> list[steps.Action]:
        """End the answer where the buyer's own money does."""
        if not self._progress.text:
            return [self._leave(), *self._fail(event.error)]
        return [self._leave(), *self._finish("length", event.error)]

    def _prepare(self, event: steps.MoneyHeld) -> list[steps.Action]:
        self.state = State.PREPARING
        self._attempt, self._granted_wei = None, event.granted_wei
        return [steps.BuyPart(received=self._bid, tokens_max=self._tokens_max, granted_wei=event.granted_wei)]

    def _skip(self, event: steps.PurchaseNotReady) -> list[steps.Action]:
        self._progress.blame(self._bid.peer_id, event.error)
        return [steps.SettleMoney(), self._leave(), *self._try_next()]

    def _open(self, event: steps.PurchaseReady) -> list[steps.Action]:
        self.state = State.OPENING
        self._attempt = Attempt.begin(
            self._bid,
            at_s=event.at_s,
            stall_timeout_s=self._stall_timeout_s,
            has_others=any(self._is_alternative(bid, event.at_s) for bid, _ in self._queue),
            tokens_in=self._progress.tokens_before,
            tokens_max=self._tokens_max,
            granted_wei=self._granted_wei,
            stop=self._progress.requested.request.sampling.stop,
            tokenizer=self._progress.tokenizer,
        )
        return []

    def _stream(self, event: steps.StreamOpened) -> list[steps.Action]:
        self.state = State.STREAMING
        self._running.open(event.at_s)
        return []

    def _note_paid(self, event: steps.PaidAhead) -> list[steps.Action]:
        self._running.pay(event.paid_wei, event.at_s)
        return []

    def _show(self, event: steps.TextReceived) -> list[steps.Action]:
        self.state = State.SHOWING
        self._running.receive(event.text, event.at_s)
        return [steps.ShowText(text=event.text)]

    def _go_on(self, event: steps.TextShown) -> list[steps.Action]:
        self.state = State.STREAMING
        self._running.resume(event.at_s, self._stall_timeout_s)
        return []

    def _end_part(self, event: steps.PartBought | steps.PartFailed) -> list[steps.Action]:
        attempt = self._running
        bought = event.bought if isinstance(event, steps.PartBought) else None
        attempt.end(event.at_s, bought=bought, error=event.error if isinstance(event, steps.PartFailed) else None)
        attempt.is_own_line = isinstance(event, steps.PartFailed) and event.is_own_line
        self._progress.add(attempt)
        self.state = State.NOTING
        return [_settle(attempt), steps.NoteOutcome(attempt=attempt)]

    def _judge(self, _: steps.OutcomeNoted) -> list[steps.Action]:
        """End the request, or go on with another seller from the text delivered."""
        leave, attempt = self._leave(), self._running
        if self._progress.is_refused:
            return [leave, *self._fail(self._progress.failure())]
        if attempt.is_whole:
            why_cut = attempt.bought.why_cut if attempt.bought and attempt.is_spent else None
            return [leave, *self._finish("length" if attempt.is_full else "stop", why_cut)]
        if self._progress.tokens_left() < 1:
            return [leave, *self._finish("length")]
        if attempt.received.peer_id not in self._progress.tried:  # its next bid will name its ledger's new generation
            return [leave, *self._call()]
        return [leave, *self._try_next()]

    def _cancel(self) -> list[steps.Action]:
        """Undo what is held in the present state."""
        state, self.state = self.state, State.ENDED
        undo: list[steps.Action] = []
        if state in (State.PREPARING, State.OPENING, State.STREAMING, State.SHOWING):
            undo.append(_settle(self._attempt) if self._attempt else steps.SettleMoney())
        if undo or state in (State.HOLDING, State.NOTING):
            undo.append(self._leave())
        return undo

    def _leave(self) -> steps.LeaveSeller:
        return steps.LeaveSeller(wallet=self._bid.message.wallet)

    def _finish(self, finish_reason: FinishReason, why_cut: ProtocolError | None = None) -> list[steps.Action]:
        self.state = State.ENDED
        return [steps.ReturnAnswer(answer=self._progress.answered(finish_reason, why_cut), peer_id=self._bid.peer_id)]

    def _fail(self, error: ProtocolError) -> list[steps.Action]:
        self.state = State.ENDED
        return [steps.RaiseError(error=error)]

    @property
    def _tokens_max(self) -> int:
        return self._progress.tokens_left(self._bid.message.context_max)

    @property
    def _bid(self) -> ReceivedBid:
        assert self._received, "a bid is tried"
        return self._received

    @property
    def _running(self) -> Attempt:
        assert self._attempt, "an attempt runs"
        return self._attempt


def _settle(attempt: Attempt) -> steps.SettleMoney:
    spent_wei = Wei(attempt.spent_wei - attempt.lost_wei)
    return steps.SettleMoney(spent_wei=spent_wei, lost_wei=attempt.lost_wei)


_STEPS: Final[dict[tuple[State, type[steps.RequestEvent]], Callable[[Answering, Any], list[steps.Action]]]] = {
    (State.NEW, steps.Begun): Answering._call,
    (State.CALLING, steps.BidsRanked): Answering._rank,
    (State.CALLING, steps.NobodyLeft): Answering._give_up,
    (State.ENTERING, steps.SellerEntered): Answering._enter,
    (State.ENTERING, steps.SellerFull): Answering._try_next,
    (State.HOLDING, steps.MoneyHeld): Answering._prepare,
    (State.HOLDING, steps.MoneyRefused): Answering._end_at_limit,
    (State.PREPARING, steps.PurchaseReady): Answering._open,
    (State.PREPARING, steps.PurchaseNotReady): Answering._skip,
    (State.OPENING, steps.StreamOpened): Answering._stream,
    (State.OPENING, steps.PartFailed): Answering._end_part,
    (State.STREAMING, steps.PaidAhead): Answering._note_paid,
    (State.STREAMING, steps.TextReceived): Answering._show,
    (State.STREAMING, steps.PartBought): Answering._end_part,
    (State.STREAMING, steps.PartFailed): Answering._end_part,
    (State.SHOWING, steps.TextShown): Answering._go_on,
    (State.SHOWING, steps.PartFailed): Answering._end_part,
    (State.NOTING, steps.OutcomeNoted): Answering._judge,
}
"""The step for each legal event of each state. `Cancelled` is legal in all of them."""
