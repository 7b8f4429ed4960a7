"""Channel salts that name the network and the generation of the seller's ledger.

A seller whose ledger was restored draws a new generation. It then tells channels whose receipts it may have forgotten
from channels that began afterwards, although it no longer knows all of the old ones.
"""

from typing import Final

from .eip712 import digest_word, keccak_digest
from .primitives import Generation, Salt

GENERATION_BYTES: Final = 32
SALT_HALF_BYTES: Final = 16

_DOMAIN: Final = b"openledger.channel-salt/1"


def channel_salt(network: str, generation: Generation, drawn: bytes) -> Salt:
    """Make a channel's salt: 16 bytes that name network and generation, and 16 bytes that the payer draws."""
    assert len(drawn) == SALT_HALF_BYTES, "the payer draws the second half"
    return Salt(_first_half(network, generation) + drawn.hex())


def is_of_generation(salt: Salt, network: str, generation: Generation) -> bool:
    """Return True if a channel with this salt was opened for this network and generation."""
    return salt.startswith(_first_half(network, generation))


def _first_half(network: str, generation: Generation) -> str:
    """The first 16 bytes of keccak(domain ‖ generation ‖ network's name), as 0x-hex."""
    named = keccak_digest(_DOMAIN + digest_word(generation) + network.encode())
    return named[: 2 + 2 * SALT_HALF_BYTES]
