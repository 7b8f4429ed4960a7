"""The peers that we know, as they are shown: where each was learned of, and what it offers."""

from typing import Any

from openledger_protocol.advertisement import Advertisement
from openledger_protocol.primitives import Digest

from ..moments import rfc3339
from ..p2p.keeper import KnownPeer
from .market_view import both


def peer_to_plain(peer: KnownPeer, ad: Advertisement | None, *, base: Digest) -> dict[str, Any]:
    """One peer for JSON; what only its advertisement says is None while it has none that counts.

    `price_wei` is that of 1,000 tokens in and 1,000 out, before surcharges; `has_our_base`: it can answer for `base`.
    """
    return {
        "peer_id": peer.peer_id,
        "address": peer.address or None,
        "learned_from": peer.learned_from,
        "is_connected": peer.is_connected,
        "serves": bool(ad and ad.serves),
        "adapters": [adapter.name for adapter in ad.warm] if ad else [],
        "wallet": ad.wallet if ad else None,
        "has_our_base": ad.base == base if ad else None,
        "price_wei": str(both(ad.terms)) if ad else None,
        "tokens_per_s": ad.tokens_per_s if ad else None,
        "slots_free": ad.slots_free if ad else None,
        "advertised": rfc3339(ad.issued_s) if ad else None,
    }
