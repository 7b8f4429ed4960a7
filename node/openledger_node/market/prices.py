"""The highest prices that a call accepts."""

from collections.abc import Callable, Sequence

from openledger_protocol.advertisement import Advertisement
from openledger_protocol.auction import price_ceiling
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import Wei

from .worth import Worth


def price_max(
    offers: Sequence[Advertisement],
    worth_of: Callable[[Advertisement], Worth],
    *,
    own_in_wei: Wei | None,
    own_out_wei: Wei | None,
) -> Terms:
    """The highest prices by the owner's settings, or by the bonded offers of a model, the cheapest last.

    A wallet with many nodes counts once, by its cheapest.

    Raises:
        MalformedError: a price is not set, and no offer has a bond.
    """
    if own_in_wei is not None and own_out_wei is not None:
        return Terms(price_in_wei=own_in_wei, price_out_wei=own_out_wei)
    cheapest = {ad.wallet: (ad.terms, bond) for ad in offers if (bond := worth_of(ad).bonded_wei)}
    usual = price_ceiling(list(cheapest.values()))
    return Terms(
        price_in_wei=usual.price_in_wei if own_in_wei is None else own_in_wei,
        price_out_wei=usual.price_out_wei if own_out_wei is None else own_out_wei,
    )
