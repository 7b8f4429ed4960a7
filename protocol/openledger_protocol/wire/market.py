"""The `call` stream: a requester calls, a node bids, and the requester tells it the result.

The winner's bid becomes the award that the `infer` stream opens with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ..payments import Terms
from ..primitives import ZERO_DIGEST, AdapterId, Address, Digest, Generation, RequestId, Wei
from .fields import ADDRESS, BOOL, DIGEST, WEI, growing, listed, positive, record, text, uint
from .frames import ERROR, MessageSet
from .inference import ErrorMessage

REASON_LENGTH_MAX = 200
ABILITIES_MAX, ABILITY_LENGTH_MAX = 16, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A requester's needs, and the highest prices it accepts."""

    id: RequestId  # the same on the infer stream and in the receipt
    base: Digest
    adapter: AdapterId  # zero: the base alone
    tokens_in: int  # of the rendered prompt
    tokens_max: int  # of the answer
    price_in_max: Wei  # of 1,000 tokens
    price_out_max: Wei
    deadline_ms: int  # after the call; later bids are ignored


@dataclass(frozen=True, slots=True, kw_only=True)
class BidMessage:
    """A node's bid: its price and promised times. Its receipt must state the same terms."""

    id: RequestId
    wallet: Address  # the channel's node
    signer: Address  # of its receipts
    generation: Generation  # of its ledger: part of the channel's salt
    terms: Terms
    profile_hash: Digest
    algo_id: int
    index_root: Digest  # of the adapter's attribution index; zero without one
    chunk_tokens: int  # at most this many tokens between two vouchers
    context_max: int  # tokens of prompt and answer together
    queue: int  # requests that wait before this one
    is_warm: bool  # the adapter is in memory
    ttft_ms: int  # to the first token, including the queue and loading the adapter
    tokens_per_s: int  # after the first token
    valid_ms: int  # how long the bid is valid
    can: tuple[str, ...] = ()  # see `ABILITIES`; a later version may name others
    template: Digest = ZERO_DIGEST  # of the base's chat template here; zero without one
    tokenizer: Digest = ZERO_DIGEST  # of the base's tokenizer here; zero if it is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Won:
    """The bid has won: an infer stream follows."""

    id: RequestId


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Another bid was better, or this one was not acceptable."""

    id: RequestId
    reason: str


MarketMessage = Call | BidMessage | Won | Lost | ErrorMessage

_CALL = record(
    Call,
    id=DIGEST,
    base=DIGEST,
    adapter=DIGEST,
    tokens_in=uint(32),
    tokens_max=positive(32),
    price_in_max=WEI,
    price_out_max=WEI,
    deadline_ms=positive(32),
)
_BID = growing(
    BidMessage,
    {
        "can": listed(text(ABILITY_LENGTH_MAX), length_max=ABILITIES_MAX),
        "template": DIGEST,
        "tokenizer": DIGEST,
    },
    id=DIGEST,
    wallet=ADDRESS,
    signer=ADDRESS,
    generation=DIGEST,
    terms=record(Terms, price_in_wei=WEI, price_out_wei=WEI),
    profile_hash=DIGEST,
    algo_id=uint(32),
    index_root=DIGEST,
    chunk_tokens=positive(32),
    context_max=positive(32),
    queue=uint(32),
    is_warm=BOOL,
    ttft_ms=uint(32),
    tokens_per_s=positive(32),
    valid_ms=positive(32),
)
_MESSAGES = MessageSet(
    {
        "call": (Call, _CALL),
        "bid": (BidMessage, _BID),
        "won": (Won, record(Won, id=DIGEST)),
        "lost": (Lost, record(Lost, id=DIGEST, reason=text(REASON_LENGTH_MAX))),
        "error": (ErrorMessage, ERROR),
    }
)


def encode(message: MarketMessage) -> dict[str, object]:
    """Encode a message as the map of its frame."""
    return _MESSAGES.encode(message)


def decode(frame: Mapping[str, Any]) -> MarketMessage:
    """Decode the map of a frame.

    Raises:
        UnknownVersionError: it has another major version.
        MalformedError: an unknown `t`; or it names the field that is missing or invalid.
    """
    return cast(MarketMessage, _MESSAGES.decode(frame))
