"""Provider records of named peers, for tests."""

from typing import Any

from support.peers import seed

from openledger_node.p2p.transport import PeerId
from openledger_protocol.codec import sha256_digest
from openledger_protocol.peers import peer_id_from_public_key, public_key_of
from openledger_protocol.primitives import AdapterId
from openledger_protocol.wire.providers import ProviderRecord, sign_record

NET = "test-net"
NOW_S = 1_800_000_000


def id_of(name: str) -> PeerId:
    """The peer id of a named peer."""
    return PeerId(peer_id_from_public_key(public_key_of(seed(name))))


def adapter(name: object) -> AdapterId:
    """The id of a named adapter."""
    return AdapterId(sha256_digest(str(name).encode()))


def signed(name: str, adapter_id: AdapterId, *, signer: str = "", **changes: Any) -> bytes:
    """A record of a named peer for an adapter, issued now."""
    fields: dict[str, Any] = {
        "network": NET,
        "adapter": adapter_id,
        "peer_id": id_of(name),
        "addresses": (f"/ip4/127.0.0.1/tcp/4001/p2p/{id_of(name)}",),
        "relays": (),
        "issued_s": NOW_S,
        "expires_s": NOW_S + 3_600,
    }
    return sign_record(ProviderRecord(**{**fields, **changes}), seed(signer or name))
