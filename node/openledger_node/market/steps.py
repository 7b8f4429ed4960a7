"""Events that a request in progress receives, and actions that it asks for, as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass

from openledger_protocol.errors import PaymentRequiredError, ProtocolError
from openledger_protocol.primitives import ZERO_WEI, Address, Wei

from ..errors import ChainError, NetworkError
from ..p2p.transport import PeerId
from ..payments.purchase import Bought
from .attempt import Attempt
from .calls import ReceivedBid
from .request import RemoteAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEvent:
    """Something that has happened. Times are seconds of the shell's clock."""


class Begun(RequestEvent):
    """The request is to be answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BidsRanked(RequestEvent):
    """A call for bids is over."""

    bids: Sequence[ReceivedBid]  # acceptable ones, best first


class NobodyLeft(RequestEvent):
    """No seller is left to call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SellerEntered(RequestEvent):
    """The seller's wallet has room for one more stream, which is counted now."""

    at_s: float


class SellerFull(RequestEvent):
    """The seller's wallet has no room now, or is barred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyHeld(RequestEvent):
    """The spending limit allows a purchase."""

    granted_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyRefused(RequestEvent):
    """The spending limit is reached."""

    error: PaymentRequiredError


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseReady(RequestEvent):
    """Signer, adapter and channel are in order, and a stream is to be opened."""

    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseNotReady(RequestEvent):
    """The purchase could not be prepared, so nothing was paid."""

    error: ProtocolError | ChainError


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOpened(RequestEvent):
    """The stream is open, and the first voucher goes out on it."""

    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidAhead(RequestEvent):
    """A voucher is about to leave, or the seller has said that it is owed nothing."""

    paid_wei: Wei  # the most that the seller may charge by now
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TextReceived(RequestEvent):
    """A piece of the answer has come."""

    text: str
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TextShown(RequestEvent):
    """The reader has taken the last piece."""

    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PartBought(RequestEvent):
    """The seller's part ended with a correct receipt."""

    bought: Bought
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFailed(RequestEvent):
    """The seller refused, left, stalled or lied; its part has no receipt."""

    error: ProtocolError | NetworkError
    at_s: float
    is_own_line: bool = False  # this node heard nobody else either


class OutcomeNoted(RequestEvent):
    """The outcome of an attempt is stored."""


class Cancelled(RequestEvent):
    """The reader has left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """An order to the shell. The last one of a list is answered by an event, the others are done at once."""


class CallSellers(Action):
    """Call for bids on the rest of the answer. Answered by `BidsRanked` or `NobodyLeft`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnterSeller(Action):
    """Count one more stream with a wallet. Answered by `SellerEntered` or `SellerFull`."""

    wallet: Address
    may_wait: bool  # until the wallet has room


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldMoney(Action):
    """Reserve money. Answered by `MoneyHeld` or `MoneyRefused`."""

    least_wei: Wei
    most_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyPart(Action):
    """Buy the rest of the answer. Answered by `PurchaseNotReady`, or by `PurchaseReady` and the stream's events."""

    received: ReceivedBid
    tokens_max: int
    granted_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowText(Action):
    """Give the reader a piece of the answer. Answered by `TextShown`."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteOutcome(Action):
    """Store how an attempt went. Answered by `OutcomeNoted`."""

    attempt: Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleMoney(Action):
    """Free the reserved money but for what was spent, and what was paid without a receipt. Done at once."""

    spent_wei: Wei = ZERO_WEI
    lost_wei: Wei = ZERO_WEI


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveSeller(Action):
    """Count one stream less with a wallet. Done at once."""

    wallet: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnAnswer(Action):
    """The request is answered."""

    answer: RemoteAnswer
    peer_id: PeerId  # the last seller


@dataclass(frozen=True, slots=True, kw_only=True)
class RaiseError(Action):
    """Nobody could answer the request."""

    error: ProtocolError
