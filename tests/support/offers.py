"""Samples and strategies of what peers say to each other before a stream is opened."""

from dataclasses import replace
from typing import Any

from openledger_protocol.advertisement import Advertisement, OfferedAdapter, sign_binding
from openledger_protocol.auction import Bid
from openledger_protocol.bloom import make_filter
from openledger_protocol.codec import FrameDecoder, encode_frame
from openledger_protocol.payments import Terms
from openledger_protocol.peers import peer_id_from_public_key, public_key_of
from openledger_protocol.primitives import AdapterId, Digest, Generation, RequestId, Wei
from openledger_protocol.wire.market import BidMessage, Call

from .signed import NODE, SIGNER, SIGNER_KEY, digest

NETWORK = "development-1a2b3c4d"
NOW_S = 1_800_000_000
SEED = b"\x07" * 32
PEER_ID = peer_id_from_public_key(public_key_of(SEED))
IDS = [Digest(f"0x{number:064x}") for number in range(1, 1_001)]

AD = Advertisement(
    network=NETWORK,
    peer_id=PEER_ID,
    addresses=(f"/ip4/192.168.1.20/tcp/41234/p2p/{PEER_ID}",),
    wallet=NODE,
    signer=SIGNER,
    generation=Generation(digest("9")),
    base=digest("a"),
    profile_hash=digest("b"),
    algo_id=1,
    context_max=2_048,
    chunk_tokens=32,
    terms=Terms(price_in_wei=Wei(10**15), price_out_wei=Wei(10**16)),
    warm=(OfferedAdapter(id=AdapterId(IDS[0]), name="port-of-kiel"),),
    cold=make_filter(IDS[:40]),
    num_cold=40,
    slots_free=4,
    tokens_per_s=50,
    serves=True,
    seq=7,
    issued_s=NOW_S,
    expires_s=NOW_S + 120,
    binding=sign_binding(SIGNER_KEY, NETWORK, PEER_ID, NODE),
)
CALL = Call(
    id=RequestId(digest("2")),
    base=digest("3"),
    adapter=AdapterId(digest("4")),
    tokens_in=100,
    tokens_max=64,
    price_in_max=Wei(1_000),
    price_out_max=Wei(2_000),
    deadline_ms=1_000,
)
BID = BidMessage(
    id=CALL.id,
    wallet=NODE,
    signer=SIGNER,
    generation=Generation(digest("9")),
    terms=Terms(price_in_wei=Wei(900), price_out_wei=Wei(1_800)),
    profile_hash=digest("5"),
    algo_id=1,
    index_root=digest("6"),
    chunk_tokens=32,
    context_max=2_048,
    queue=1,
    is_warm=True,
    ttft_ms=120,
    tokens_per_s=40,
    valid_ms=5_000,
)


def bid(peer_id: str = PEER_ID, trust_ppm: int = 800_000, *, num_measured: int = 0, **changes: Any) -> Bid:
    """A bid for `CALL`; prices by their short names."""
    asked = Terms(price_in_wei=changes.pop("price_in", Wei(900)), price_out_wei=changes.pop("price_out", Wei(1_800)))
    message = replace(BID, terms=asked, **changes)
    return Bid(peer_id=peer_id, message=message, trust_ppm=trust_ppm, num_measured=num_measured)


def framed(frame: dict[str, object]) -> dict[str, Any]:
    """A map as it comes out of its frame."""
    [read] = FrameDecoder().feed(encode_frame(frame))
    return read
