"""A node's advertisement: its base, adapters and prices, and how to reach it.

Two keys vouch for each other: the wallet's signer signs the peer id, and the peer's key signs the whole. An
advertisement may come from anywhere (gossip, a file, another peer), so its bytes contain everything that makes it
valid.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from typing import Any, cast

from eth_hash.auto import keccak

from .bloom import check_filter
from .constants import (
    AD_1_LIFETIME_S_MAX,
    AD_ADDRESSES_MAX,
    AD_BYTES_MAX,
    AD_LIFETIME_S_MAX,
    AD_RELAYS_MAX,
    AD_RULES_MAX,
    AD_VERSION,
    AD_WARM_MAX,
    CLOCK_SKEW_S_MAX,
)
from .eip712 import address_word
from .errors import BadSignatureError, MalformedError, StaleError, UnknownVersionError, WrongNetworkError
from .payments import Terms
from .peers import (
    PEER_KEY_BYTES,
    PEER_SIGNATURE_BYTES,
    check_peer_id,
    check_peer_signature,
    peer_id_from_public_key,
    public_key_of,
    sign_as_peer,
)
from .primitives import UINT128_MAX, AdapterId, Address, Digest, Generation, Wei, check_name
from .signatures import check_signer, sign_digest
from .wire.fields import (
    BOOL,
    RAW_ADDRESS,
    RAW_DIGEST,
    SIGNATURE,
    WEI,
    Field,
    binary,
    checked,
    growing,
    listed,
    record,
    uint,
)
from .wire.frames import MessageSet, pack_map, unpack_map

ADDRESS_LENGTH_MAX = 128
CIRCUIT = "/p2p-circuit/p2p/"
"""In an address, between a relay's own address and the id of the peer that is reached through it."""

UNSTATED_CEILING = 3
"""An advertisement without a price ceiling is held to so many times its floor."""

_VISIBLE = re.compile("[!-~]+")
_AD_DOMAIN = b"openledger.advertisement/1"
_LIFETIMES_S = {1: AD_1_LIFETIME_S_MAX, AD_VERSION: AD_LIFETIME_S_MAX}  # by the body's version
_BINDING_DOMAIN = b"openledger.binding/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedAdapter:
    """An adapter that a node has in memory, under the node's name for it."""

    id: AdapterId
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertisement:
    """A node's offer. Its bids say what it currently asks and has free."""

    network: str
    peer_id: str
    addresses: tuple[str, ...]  # multiaddrs, best first
    wallet: Address
    signer: Address  # allowed by the chain to sign for the wallet
    generation: Generation  # of its ledger: part of the salt of channels with it
    base: Digest
    profile_hash: Digest
    algo_id: int
    context_max: int  # tokens
    chunk_tokens: int  # at most this many tokens between two vouchers
    terms: Terms
    warm: tuple[OfferedAdapter, ...]
    cold: bytes  # a filter over the ids of all adapters that it could load, also those in `warm`
    num_cold: int
    slots_free: int
    tokens_per_s: int  # measured, of one answer
    serves: bool  # False: it only buys, or is paused
    seq: int  # grows with each advertisement of this peer, also over restarts
    issued_s: int  # by the peer's clock, since 1970
    expires_s: int
    binding: bytes  # `signer`'s signature over `binding_digest`
    terms_max: Terms | None = None  # its prices at full load for an adapter that it must load first
    relays: tuple[str, ...] = ()  # addresses of relays, each with the relay's id, through which it can be reached
    rules: tuple[int, ...] = ()  # attribution rules that it can run beside `algo_id`; a bid names that of its adapter

    @property
    def circuits(self) -> tuple[str, ...]:
        """The addresses to dial it at through its relays."""
        return tuple(f"{relay}{CIRCUIT}{self.peer_id}" for relay in self.relays)

    @property
    def ceiling(self) -> Terms:
        """The highest prices that it may bid: those that it states, or else three times its floor."""
        return self.terms_max or Terms(
            price_in_wei=_times(UNSTATED_CEILING, self.terms.price_in_wei),
            price_out_wei=_times(UNSTATED_CEILING, self.terms.price_out_wei),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedAdvertisement:
    """An advertisement as sent: its bytes, the peer's key, and the signature over them."""

    body: bytes
    public_key: bytes
    signature: bytes


def binding_digest(network: str, peer_id: str, wallet: Address) -> bytes:
    """The digest that a wallet's signer signs once per peer key: this peer sells and buys for this wallet."""
    words = (_BINDING_DOMAIN, network.encode(), peer_id.encode())
    return keccak(b"".join(keccak(word) for word in words) + address_word(wallet))


def sign_binding(private_key: bytes, network: str, peer_id: str, wallet: Address) -> bytes:
    """Authorise a peer to act for a wallet, with the key of the wallet's signer."""
    return sign_digest(private_key, binding_digest(network, check_peer_id(peer_id), wallet))


def sign_advertisement(ad: Advertisement, seed: bytes) -> bytes:
    """Encode an advertisement, signed with the peer's key.

    Raises:
        MalformedError: over 2 KiB (`fit_advertisement` shortens it), a field out of bounds, or another peer's `seed`.
    """
    body = pack_map(cast(dict[str, object], _BODY.write(ad)))
    _check_form(_read_body(body))
    public_key = public_key_of(seed)
    _check_own_key(ad, public_key)
    content = _content(SignedAdvertisement(body=body, public_key=public_key, signature=_sign(seed, body)))
    if len(content) > AD_BYTES_MAX:
        raise MalformedError(f"an advertisement of {len(content)} bytes is over its cap of {AD_BYTES_MAX}: list less")
    return content


def fit_advertisement(ad: Advertisement) -> Advertisement:
    """Shorten its lists from the end until it fits into 2 KiB.

    Warm adapters go first, since the filter still contains them, then addresses and relays beyond the best one each.
    """
    for name, least in (("warm", 0), ("addresses", 1), ("relays", 1)):
        while len(listed_now := getattr(ad, name)) > least and _size_bytes(ad) > AD_BYTES_MAX:
            ad = replace(ad, **{name: listed_now[:-1]})
    return ad


def open_advertisement(content: bytes, *, network: str, now_s: int, seq_last: int | None) -> Advertisement:
    """Read and check a received advertisement; `seq_last` is the highest accepted sequence of this peer.

    Cheap checks come first, signatures last. The caller must ask the chain whether `signer` may sign for `wallet`.

    Raises:
        MalformedError: over 2 KiB, an invalid field, or another peer's key.
        UnknownVersionError: it has another major version.
        WrongNetworkError: it is for another network.
        StaleError: it has expired, is dated in the future, or is not newer than `seq_last`.
        BadSignatureError: the peer did not sign it, or `signer` did not sign the binding.
    """
    signed = read_signed(content)
    ad = _read_body(signed.body)
    _check_form(ad)
    if ad.network != network:
        raise WrongNetworkError(f"an advertisement for network {ad.network}, not for {network}", network=ad.network)
    _check_own_key(ad, signed.public_key)
    _check_times(ad, now_s)
    if seq_last is not None and ad.seq <= seq_last:
        raise StaleError(f"advertisement {ad.seq} of {ad.peer_id} is not newer than its {seq_last}", seq=ad.seq)
    check_peer_signature(signed.public_key, _signed_bytes(signed.body), signed.signature)
    _check_binding(ad)
    return ad


def read_signed(content: bytes) -> SignedAdvertisement:
    """Read the envelope without checking its content.

    Raises:
        MalformedError: over 2 KiB, or not an envelope.
        UnknownVersionError: it has another major version.
    """
    return cast(SignedAdvertisement, _ENVELOPE.decode(unpack_map(content, size_bytes_max=AD_BYTES_MAX)))


def check_envelope(content: bytes) -> str:
    """Check an advertisement's size, envelope and peer signature, and return the peer that signed it.

    Neither clock nor chain is needed, so every node that passes it on comes to the same result.

    Raises:
        MalformedError: as in `read_signed`.
        UnknownVersionError: it has another major version.
        BadSignatureError: the peer did not sign it.
    """
    signed = read_signed(content)
    check_peer_signature(signed.public_key, _signed_bytes(signed.body), signed.signature)
    return peer_id_from_public_key(signed.public_key)


def stated_in(content: bytes) -> Advertisement:
    """Read what an advertisement states, without its signatures, for a node that has checked the envelope only.

    Raises:
        MalformedError: over 2 KiB, or an invalid field.
        UnknownVersionError: it has another major version.
    """
    return _read_body(read_signed(content).body)


def peer_id_of(content: bytes) -> str:
    """The peer that an advertisement claims to come from, which a receiver needs to look up `seq_last`.

    Raises:
        MalformedError: as in `read_signed`.
        UnknownVersionError: it has another major version.
    """
    return peer_id_from_public_key(read_signed(content).public_key)


def _sign(seed: bytes, body: bytes) -> bytes:
    return sign_as_peer(seed, _signed_bytes(body))


def _signed_bytes(body: bytes) -> bytes:
    return _AD_DOMAIN + sha256(body).digest()


def _content(signed: SignedAdvertisement) -> bytes:
    return pack_map(_ENVELOPE.encode(signed))


def _size_bytes(ad: Advertisement) -> int:
    body = pack_map(cast(dict[str, object], _BODY.write(ad)))
    empty = SignedAdvertisement(body=body, public_key=bytes(PEER_KEY_BYTES), signature=bytes(PEER_SIGNATURE_BYTES))
    return len(_content(empty))


def _read_body(body: bytes) -> Advertisement:
    fields = unpack_map(body)
    version = fields.get("v")
    if type(version) is not int or version not in _LIFETIMES_S:
        raise UnknownVersionError(f"an advertisement of version {repr(version)[:80]}, not {AD_VERSION}")
    try:
        ad = cast(Advertisement, _BODY.read(fields))
    except MalformedError as error:
        raise MalformedError(f"advertisement: {error.message}") from error
    lifetime_s = _LIFETIMES_S[version]
    if not 0 < ad.expires_s - ad.issued_s <= lifetime_s:
        raise MalformedError(
            f"an advertisement is good for 1 to {lifetime_s} s, not for {ad.expires_s - ad.issued_s}"
        )
    return ad


def _check_form(ad: Advertisement) -> None:
    if ad.ceiling.price_in_wei < ad.terms.price_in_wei or ad.ceiling.price_out_wei < ad.terms.price_out_wei:
        raise MalformedError("an advertisement has a price ceiling below its floor")
    if len({adapter.id for adapter in ad.warm}) != len(ad.warm):
        raise MalformedError("an advertisement names a warm adapter twice")


def _times(count: int, price: Wei) -> Wei:
    return Wei(min(count * price, UINT128_MAX))


def _check_own_key(ad: Advertisement, public_key: bytes) -> None:
    if peer_id_from_public_key(public_key) != ad.peer_id:
        raise MalformedError(f"the advertisement of {ad.peer_id} comes with another peer's key", peer_id=ad.peer_id)


def _check_times(ad: Advertisement, now_s: int) -> None:
    if ad.expires_s <= now_s:
        raise StaleError(f"the advertisement ran out {now_s - ad.expires_s} s ago", expires_s=ad.expires_s)
    if ad.issued_s - now_s > CLOCK_SKEW_S_MAX:
        raise StaleError(
            f"the advertisement is dated {ad.issued_s - now_s} s ahead, over {CLOCK_SKEW_S_MAX}: a clock is off",
            issued_s=ad.issued_s,
        )


def _check_binding(ad: Advertisement) -> None:
    try:
        _check_signed_binding(ad.network, ad.peer_id, ad.wallet, ad.binding, ad.signer)
    except BadSignatureError as error:
        raise BadSignatureError(f"the binding of {ad.peer_id} to {ad.wallet}: {error.message}") from error


@lru_cache(maxsize=2_048)  # a peer sends the same one in each advertisement; what raises is not kept
def _check_signed_binding(network: str, peer_id: str, wallet: Address, binding: bytes, signer: Address) -> None:
    check_signer(binding_digest(network, peer_id, wallet), binding, signer)


def check_multiaddr(address: Any) -> str:
    """Return an address that an advertisement may list.

    Raises:
        MalformedError: it is no multiaddr, is too long, or has another character than visible ASCII.
    """
    if type(address) is not str or not 1 < len(address) <= ADDRESS_LENGTH_MAX or address[0] != "/":
        raise MalformedError(f"must be a multiaddr of at most {ADDRESS_LENGTH_MAX} characters")
    # It is dialled and logged, so it may hold no space, control character or non-ASCII character.
    if not _VISIBLE.fullmatch(address):
        raise MalformedError("a multiaddr holds visible ASCII only")
    return address


def check_relay(address: Any) -> str:
    """Return the address of a relay that an advertisement may list.

    Raises:
        MalformedError: it is no multiaddr, names no relay, or is itself reached through a relay.
    """
    _, _, name = check_multiaddr(address).rpartition("/p2p/")
    if "/p2p-circuit" in address or "/" in name:
        raise MalformedError("the address of a relay ends in /p2p/<its peer id>")
    check_peer_id(name)
    return cast(str, address)


def _body() -> Field:
    terms = record(Terms, price_in_wei=WEI, price_out_wei=WEI)
    fields = growing(
        Advertisement,
        {
            "terms_max": terms,
            "relays": listed(checked(check_relay), length_max=AD_RELAYS_MAX),
            "rules": listed(uint(32), length_max=AD_RULES_MAX),
        },
        network=checked(check_name),
        peer_id=checked(check_peer_id),
        addresses=listed(checked(check_multiaddr), length_max=AD_ADDRESSES_MAX),
        wallet=RAW_ADDRESS,
        signer=RAW_ADDRESS,
        generation=RAW_DIGEST,
        base=RAW_DIGEST,
        profile_hash=RAW_DIGEST,
        algo_id=uint(32),
        context_max=uint(32),
        chunk_tokens=uint(32),
        terms=terms,
        warm=listed(record(OfferedAdapter, id=RAW_DIGEST, name=checked(check_name)), length_max=AD_WARM_MAX),
        cold=Field(bytes, check_filter),
        num_cold=uint(32),
        slots_free=uint(32),
        tokens_per_s=uint(32),
        serves=BOOL,
        seq=uint(64),
        issued_s=uint(64),
        expires_s=uint(64),
        binding=SIGNATURE,
    )
    return Field(lambda ad: {"v": AD_VERSION, **cast(dict[str, object], fields.write(ad))}, fields.read)


_BODY = _body()
_ENVELOPE = MessageSet(
    {
        "ad": (
            SignedAdvertisement,
            record(
                SignedAdvertisement,
                body=binary(AD_BYTES_MAX),
                public_key=binary(PEER_KEY_BYTES, length_min=PEER_KEY_BYTES),
                signature=binary(PEER_SIGNATURE_BYTES, length_min=PEER_SIGNATURE_BYTES),
            ),
        )
    }
)
