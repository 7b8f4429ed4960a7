"""Errors for a rule that a peer, a payer or a client broke.

ProtocolError
├── MalformedError            bytes or fields that do not match the format
├── UnknownModelError         no such base or adapter here
├── RequestTooLongError       the sequence cannot fit the context window
├── OverloadedError           the queue is full; try again            (retryable)
├── UnavailableError          starting, draining or restarting        (retryable)
├── EngineFailedError         the engine died during this request     (retryable)
├── AdapterRefusedError       an adapter's files do not pass the gate
├── UnknownVersionError       a message of another major version
├── BadSignatureError         not signed by the right account
├── PaymentRequiredError      the voucher does not cover the next step (retryable)
├── VoucherRefusedError       a voucher that the channel does not cover
├── OldChannelError           a channel of an earlier ledger; a new one serves (retryable)
├── ReceiptRefusedError       a receipt that differs from what was agreed and delivered
├── AttributionError          shares or payouts that do not add up
├── ClaimRefusedError         a claim that the contract would refuse
├── BadProofError             a leaf that is not in the tree
├── WrongNetworkError         a message for another network
├── StaleError                expired, dated in the future, or seen before
├── PeerError                 the other side refused, with an unknown code
└── RevertedError             a contract refused a call

Each class has one wire code, and tells if the same request may succeed later.
"""

from typing import ClassVar


class ProtocolError(Exception):
    """The other side broke a rule; carries the values, and maps to one wire code."""

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
    """The node takes no requests now."""

    code = "unavailable"
    retryable = True


class EngineFailedError(ProtocolError):
    """The engine died more than once while it worked on the request."""

    code = "engine_failed"
    retryable = True


class AdapterRefusedError(ProtocolError):
    """An adapter's files failed verification."""

    code = "adapter_refused"


class UnknownVersionError(ProtocolError):
    """The message has a major version that this node does not support."""

    code = "unknown_version"


class BadSignatureError(ProtocolError):
    """A signature that is not valid, or not of the account that had to sign."""

    code = "bad_signature"


class PaymentRequiredError(ProtocolError):
    """The vouchers do not cover the next step; a higher one does."""

    code = "payment_required"
    retryable = True


class VoucherRefusedError(ProtocolError):
    """A voucher for another channel, or for more than its channel holds."""

    code = "voucher_refused"


class OldChannelError(ProtocolError):
    """The channel belongs to an earlier generation of the node's ledger: a new channel serves."""

    code = "old_channel"
    retryable = True


class ReceiptRefusedError(ProtocolError):
    """A receipt whose `field` is `value`, although `expected` was agreed or delivered."""

    code = "receipt_refused"


class AttributionError(ProtocolError):
    """Shares or payouts that do not add up to what they divide."""

    code = "bad_attribution"


class ClaimRefusedError(ProtocolError):
    """A claim or payout list that the contract would refuse."""

    code = "claim_refused"


class BadProofError(ProtocolError):
    """A proof that does not lead from its leaf to the root."""

    code = "bad_proof"


class WrongNetworkError(ProtocolError):
    """A message signed for another network."""

    code = "wrong_network"


class StaleError(ProtocolError):
    """It has expired, is dated in the future, or is not newer than the last one."""

    code = "stale"


class PeerError(ProtocolError):
    """The other side refused with an unknown code."""

    code = "peer_refused"


class RevertedError(ProtocolError):
    """A contract refused a call; `name` and `arguments` are its own error, if its ABI is known."""

    code = "reverted"

    def __init__(
        self, message: str, *, data: bytes = b"", name: str = "", arguments: tuple[object, ...] = ()
    ) -> None:
        super().__init__(message, name=name, arguments=arguments)
        self.data = data
        self.name = name
        self.arguments = arguments
