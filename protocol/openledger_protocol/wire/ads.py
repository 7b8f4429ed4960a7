"""The `ads` stream: a newcomer asks a peer for its known advertisements instead of waiting for gossip.

Each is signed by its own node, so it does not matter which peer passes it on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ..constants import AD_BYTES_MAX
from .fields import binary, listed, positive, record
from .frames import ERROR, MessageSet
from .inference import ErrorMessage

ADS_MAX = 256
"""The most advertisements in one answer: they fit its frame of 1 MiB, and are more peers than a node will call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetAds:
    """Send at most this many advertisements."""

    count_max: int = ADS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Ads:
    """Signed advertisements as received by gossip; the answering peer's own comes first."""

    ads: tuple[bytes, ...]


AdsMessage = GetAds | Ads | ErrorMessage

_MESSAGES = MessageSet(
    {
        "get": (GetAds, record(GetAds, count_max=positive(16))),
        "ads": (Ads, record(Ads, ads=listed(binary(AD_BYTES_MAX), length_max=ADS_MAX))),
        "error": (ErrorMessage, ERROR),
    }
)


def encode(message: AdsMessage) -> dict[str, object]:
    """Encode a message as the map of its frame."""
    return _MESSAGES.encode(message)


def decode(frame: Mapping[str, Any]) -> AdsMessage:
    """Decode the map of a frame.

    Raises:
        UnknownVersionError: it has another major version.
        MalformedError: an unknown `t`; or it names the field that is missing or invalid.
    """
    return cast(AdsMessage, _MESSAGES.decode(frame))
