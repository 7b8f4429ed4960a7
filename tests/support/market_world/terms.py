"""Terms of the market: keys and peers by name, one payer with its channels, prices, protocols and the time."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from itertools import count

import trio

from openledger_node.models.bases import FAKE_BASE
from openledger_node.p2p.transport import PeerId
from openledger_protocol.eip712 import payments_domain
from openledger_protocol.generation import SALT_HALF_BYTES, channel_salt
from openledger_protocol.payments import ChannelConfig, Terms, channel_id, price_wei
from openledger_protocol.peers import peer_id_from_public_key, public_key_of
from openledger_protocol.primitives import Address, Digest, Generation, Salt, Wei
from openledger_protocol.signatures import address_of, sign_digest

NETWORK = "development-1a2b3c4d"
CALL, INFER, ADS = (f"/openledger/{NETWORK}/{name}" for name in ("call/1", "infer/1", "ads/2"))
BASE = FAKE_BASE.digest
PROFILE = Digest("0x" + "ab" * 32)
DOMAIN = payments_domain(1337, Address("0x" + "11" * 20))
TERMS = Terms(price_in_wei=Wei(1_000_000), price_out_wei=Wei(4_000_000))
CHUNK_TOKENS = 8
NOW_S = 1_800_000_000
NOW_NS = NOW_S * 10**9


def now_s() -> float:
    """The wall clock of advertisements, which goes with the test's."""
    return NOW_S + trio.current_time() % 10**6


@dataclass(kw_only=True)
class Clock:
    """Nanoseconds that pass as they are asked for."""

    now_ns: int = NOW_NS

    def __call__(self) -> int:
        self.now_ns += 1000
        return self.now_ns


def price(tokens_in: int, tokens_out: int, times: float = 1) -> Wei:
    """The price of an answer at so many times the usual terms."""
    return price_wei(tokens_in, tokens_out, priced(TERMS, times))


def priced(terms: Terms, times: float) -> Terms:
    return Terms(
        price_in_wei=Wei(int(terms.price_in_wei * times)), price_out_wei=Wei(int(terms.price_out_wei * times))
    )


# ---- keys, peers and channels


def key_of(name: str) -> bytes:
    return sha256(name.encode()).digest()


def word(name: str) -> str:
    return "0x" + key_of(name).hex()


def sign_as(name: str) -> Callable[[bytes], bytes]:
    return lambda digest: sign_digest(key_of(name), digest)


def seed_of(name: str) -> bytes:
    return key_of(f"{name} peer")


def peer_id_of(name: str) -> PeerId:
    return PeerId(peer_id_from_public_key(public_key_of(seed_of(name))))


def wallet_of(name: str) -> Address:
    return address_of(key_of(f"{name} wallet"))


def signer_of(name: str) -> Address:
    return address_of(key_of(f"{name} signer"))


PAYER, AUTHORIZER = (address_of(key_of(name)) for name in ("payer", "authorizer"))


GENERATION = Generation(word("generation"))


def draws() -> Callable[[], Generation]:
    """Draw `GENERATION` for a new ledger, and others whenever it must have a new one."""
    numbers = count()
    return lambda: Generation(word(f"generation {number}")) if (number := next(numbers)) else GENERATION


def salt_of(name: str, generation: Generation = GENERATION) -> Salt:
    """The salt of a channel of that name."""
    return channel_salt(NETWORK, generation, key_of(name)[:SALT_HALF_BYTES])


def config_with(node: Address, generation: Generation = GENERATION) -> ChannelConfig:
    """The payer's channel with a node."""
    salt = salt_of(f"with {node}", generation)
    return ChannelConfig(payer=PAYER, authorizer=AUTHORIZER, node=node, withdraw_delay_s=40, salt=salt)


NODE, SIGNER = wallet_of("node"), signer_of("node")
CONFIG = config_with(NODE)
CHANNEL = channel_id(CONFIG, DOMAIN)
