"""Keys that may sign just now."""

from collections.abc import Callable
from dataclasses import dataclass, field

from openledger_protocol.primitives import Address
from openledger_protocol.signatures import sign_digest

from ..errors import KeyFileError
from ..keystore import Key


@dataclass(slots=True)
class KeyRing:
    """Keys that may sign just now, by address."""

    keys: dict[Address, Key] = field(default_factory=dict)

    def add(self, *keys: Key) -> None:
        """Let keys sign."""
        self.keys |= {key.address: key for key in keys}

    def sign(self, account: Address, digest: bytes) -> bytes:
        """Sign 32 bytes.

        Raises:
            KeyFileError: the account is locked.
        """
        if account not in self.keys:
            raise KeyFileError(f"{account} is locked: the verb that needs it asks for its password")
        return sign_digest(self.keys[account].private_key, digest)

    def signer(self, account: Address) -> Callable[[bytes], bytes]:
        """What signs for one account."""
        return lambda digest: self.sign(account, digest)
