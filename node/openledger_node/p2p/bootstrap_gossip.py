"""Judges gossip on a bootstrap node, which has no chain and no board.

Nodes ignore an advertisement on a topic of another base or shard. A bootstrap node that passed it on would let one
stranger send their advertisement to the sellers of every base.
"""

from collections import OrderedDict
from collections.abc import Callable

from openledger_protocol.advertisement import Advertisement, stated_in
from openledger_protocol.errors import ProtocolError
from openledger_protocol.wire.ads import AdsTopic, parse_ads_topic, shard_of

from .envelopes import GossipVerdict, judge_envelope
from .rates import Rates
from .transport import PeerId

MESSAGES_A_SECOND, MESSAGES_AT_ONCE = 2.0, 20.0
"""Messages passed on per origin."""

SELLERS_MAX = 16_384
"""Sellers whose bases are remembered, each once a base; the one that advertised longest ago is forgotten."""


class GossipJudge:
    """Judges messages as far as their bytes, the clock and earlier messages on the same topic tell."""

    def __init__(self, network: str, *, now_s: Callable[[], float], clock: Callable[[], float]) -> None:
        self._network = network
        self._now_s = now_s  # since 1970
        self._rates: Rates[PeerId] = Rates(per_s=MESSAGES_A_SECOND, burst=MESSAGES_AT_ONCE, clock=clock)
        self._sold: OrderedDict[tuple[PeerId, str], None] = (
            OrderedDict()
        )  # seller and prefix of its base, latest last

    def judge(self, topic: str, origin: PeerId, content: bytes) -> GossipVerdict:
        """Judge a message; only a wrong envelope counts against the forwarder."""
        if not self._rates.take(origin):
            return GossipVerdict.IGNORE
        verdict = judge_envelope(topic, origin, content)
        named = parse_ads_topic(self._network, topic)
        if verdict is not GossipVerdict.PASS or named is None:
            return verdict
        try:
            ad = stated_in(content)
        except ProtocolError:
            return GossipVerdict.IGNORE
        return GossipVerdict.PASS if self._belongs(ad, origin, named) else GossipVerdict.IGNORE

    def _belongs(self, ad: Advertisement, origin: PeerId, topic: AdsTopic) -> bool:
        """True for a live advertisement of this base and shard, or the first of a seller that has left the base."""
        if ad.network != self._network or ad.expires_s <= self._now_s() or ad.peer_id != origin:
            return False
        if shard_of(origin, topic.bits) != topic.index:
            return False
        has_sold = (origin, topic.prefix) in self._sold
        self._sold.pop((origin, topic.prefix), None)
        if not ad.base.startswith(f"0x{topic.prefix}"):
            return has_sold
        self._sold[origin, topic.prefix] = None
        if len(self._sold) > SELLERS_MAX:
            self._sold.popitem(last=False)
        return True
