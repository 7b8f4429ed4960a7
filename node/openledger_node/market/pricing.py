"""What a node asks for a call: the operator's floor, and more of it where the node is busy or must load first."""

from dataclasses import dataclass

from openledger_protocol.payments import Terms
from openledger_protocol.primitives import UINT128_MAX, Wei

PERCENT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePolicy:
    """The operator's word on prices."""

    floor: Terms
    load_percent: int = 0  # more, where the queue is full; in between in proportion
    cold_percent: int = 0  # more, where the adapter is not in memory


def terms_asked(policy: PricePolicy, *, num_live: int, queue_max: int, is_warm: bool) -> Terms:
    """The terms of a bid, rounded up: never below the floor."""
    busy = min(num_live, queue_max)
    # The surcharge in parts of `PERCENT * queue_max`, so that no fraction is lost before the end.
    parts = policy.load_percent * busy + (0 if is_warm else policy.cold_percent * queue_max)
    return Terms(
        price_in_wei=_raised(policy.floor.price_in_wei, parts, PERCENT * queue_max),
        price_out_wei=_raised(policy.floor.price_out_wei, parts, PERCENT * queue_max),
    )


def _raised(price: Wei, parts: int, whole: int) -> Wei:
    return Wei(min(price - (-price * parts // whole), UINT128_MAX))
