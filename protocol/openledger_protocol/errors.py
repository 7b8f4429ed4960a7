"""A peer, a payer or a client broke a rule.

ProtocolError
├── MalformedError            the bytes or fields are not what the format says
├── UnknownModelError         no such base or adapter here
├── RequestTooLongError       the sequence cannot fit the context window
├── OverloadedError           the queue is full; try again            (retryable)
├── UnavailableError          starting, draining or restarting        (retryable)
├── EngineFailedError         the engine died under this request      (retryable)
├── AdapterRefusedError       an adapter's files do not pass the gate
├── UnknownVersionError       a message of another major version
├── BadSignatureError         not signed by whom it must be
├── PaymentRequiredError      the voucher does not cover the next step (retryable)
├── VoucherRefusedError       a voucher that this channel can't honour
├── ReceiptRefusedError       a receipt that is not what was agreed and delivered
├── AttributionError          shares or payouts that do not add up
├── ClaimRefusedError         a claim that the contract would not take
├── BadProofError             a leaf that is not in the tree
├── WrongNetworkError         meant for another network
├── StaleError                too old, from a clock that is off, or seen before
├── PeerError                 the other side refused, with a code that we do not know
└── RevertedError             a contract refused a call

Each class has one wire code, and says whether the same request may succeed later.
"""

from typing import ClassVar


class ProtocolError(Exception):
    """A rule was broken by the other side; carries the values, maps to one wire code."""

    code: ClassVar[str] = "protocol_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **values: object) -> None:
        super().__init__(message)
        self.message = message
        self.values = values


class MalformedError(ProtocolError):
    """A field is missing, of the wrong type or out of bounds."""

    code = "malformed"


class UnknownModelError(ProtocolError):
    """The name means no base and no adapter that this node can serve."""

    code = "unknown_model"


class RequestTooLongError(ProtocolError):
    """Prompt and answer together cannot fit the context window."""

    code = "request_too_long"


class OverloadedError(ProtocolError):
    """The queue is full."""

    code = "overloaded"
    retryable = True


class UnavailableError(ProtocolError):
    """The node takes no request just now."""

    code = "unavailable"
    retryable = True


class EngineFailedError(ProtocolError):
    """The engine was lost while it worked on the request, more than once."""

    code = "engine_failed"
    retryable = True


class AdapterRefusedError(ProtocolError):
    """An adapter's files are not what they must be."""

    code = "adapter_refused"


class UnknownVersionError(ProtocolError):
    """The message speaks a major version that we do not."""

    code = "unknown_version"


class BadSignatureError(ProtocolError):
    """A signature that is not valid, or not of the account that had to sign."""

    code = "bad_signature"


class PaymentRequiredError(ProtocolError):
    """What has been allowed does not cover what comes next; a higher voucher does."""

    code = "payment_required"
    retryable = True


class VoucherRefusedError(ProtocolError):
    """A voucher for another channel, or for more than its channel holds."""

    code = "voucher_refused"


class ReceiptRefusedError(ProtocolError):
    """A receipt whose `field` has `value` where `expected` was agreed or delivered."""

    code = "receipt_refused"


class AttributionError(ProtocolError):
    """Shares or payouts that do not add up to what they divide."""

    code = "bad_attribution"


class ClaimRefusedError(ProtocolError):
    """A claim, or a list of who is owed, that the contract would not take."""

    code = "claim_refused"


class BadProofError(ProtocolError):
    """A proof that does not lead from its leaf to the root."""

    code = "bad_proof"


class WrongNetworkError(ProtocolError):
    """What was signed for another network does not count in this one."""

    code = "wrong_network"


class StaleError(ProtocolError):
    """It has run out, is dated in the future, or is no newer than what was seen before."""

    code = "stale"


class PeerError(ProtocolError):
    """What the other side said when it refused, where it used a code that we do not know."""

    code = "peer_refused"


class RevertedError(ProtocolError):
    """A contract refused a call; `name` and `arguments` are its own error where its ABI is known."""

    code = "reverted"

    def __init__(
        self, message: str, *, data: bytes = b"", name: str = "", arguments: tuple[object, ...] = ()
    ) -> None:
        super().__init__(message, name=name, arguments=arguments)
        self.data = data
        self.name = name
        self.arguments = arguments
