"""Gossip in its bytes, so that a test can send what no implementation would."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from openledger_node.p2p.transport import PeerId

GOSSIPSUB = "/meshsub/1.1.0"
PEER_ID_PREFIX = bytes([0, 36, 8, 1, 18, 32])


def varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def prefixed(content: bytes) -> bytes:
    return varint(len(content)) + content


def field(number: int, content: bytes) -> bytes:
    """One field of a protobuf message."""
    return varint(number << 3 | 2) + prefixed(content)


def message(
    origin: bytes, content: bytes, *topics: str, number: int = 0, key: bytes = b"", signature: bytes = b""
) -> bytes:
    """A message as it stands in an RPC."""
    body = _unsigned(origin, content, *topics, number=number)
    return field(2, body + field(5, signature) + field(6, key))


def signed(seed: bytes, content: bytes, *topics: str, number: int = 0) -> bytes:
    """A message that its origin has signed."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    origin = PEER_ID_PREFIX + key.public_key().public_bytes_raw()
    body = _unsigned(origin, content, *topics, number=number)
    return message(origin, content, *topics, number=number, signature=key.sign(b"libp2p-pubsub:" + body))


def rpc(*messages: bytes) -> bytes:
    return prefixed(b"".join(messages))


def score_of(peer: object, neighbour: PeerId, topic: str) -> float:
    """The score that a peer gives a neighbour."""
    gossip = peer._gossip  # type: ignore[attr-defined]
    [found] = [each for each in gossip.peers if str(each) == neighbour]
    return float(gossip._scores.topic_score(found, topic))


def _unsigned(origin: bytes, content: bytes, *topics: str, number: int) -> bytes:
    body = field(1, origin) + field(2, content) + field(3, number.to_bytes(8, "big"))
    return body + b"".join(field(4, topic.encode()) for topic in topics)
