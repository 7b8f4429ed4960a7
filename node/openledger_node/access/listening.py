"""Conditions under which the API listens beyond loopback."""

from ..config_tables import ApiConfig
from ..errors import ConfigError
from ..listeners import ListenAddress, read_addresses
from .keys import ApiKeyRing

PLAIN = "traffic there is not encrypted: put a reverse proxy with TLS in front (docs/how-to/share-the-api.md)"


def public_addresses(api: ApiConfig, ring: ApiKeyRing) -> list[ListenAddress]:
    """The addresses beyond the loopback one.

    Raises:
        ConfigError: nobody could ask there by a key, or it is undecided which web pages may ask.
    """
    addresses = read_addresses(api.listen)
    if not addresses:
        return []
    if not ring.all():
        raise ConfigError(
            "[api] listen opens the API beyond this machine, where only named keys are valid, and there is none: "
            "make one by `openledger-node keys add NAME`, or remove [api] listen"
        )
    if not api.origins.strip(" ,"):
        raise ConfigError(
            "[api] listen opens the API beyond this machine, and [api] origins does not say which web pages may ask "
            'it: set it to their origins, such as "https://chat.example.org", or to "none"'
        )
    return addresses
