"""Named API keys: a file with each key's name, the digest of its secret, and its number of requests at once."""

import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Final

from ..errors import ConfigError, InputError
from ..home import Home, write_private

SECRET_BYTES: Final = 32
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}", re.ASCII)
DIGEST: Final = re.compile("[0-9a-f]{64}")
AT_ONCE_MAX: Final = 1_000
KEYS_MAX: Final = 1_000
"""A request is compared with every key, so that the time tells nothing about them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One named key."""

    name: str
    digest: str  # SHA-256 of the secret, in hex
    created_s: int
    at_once: int  # requests that may run or wait at the same time


class ApiKeyRing:
    """The named keys of one node. Every call sees what another process has written."""

    def __init__(self, home: Home) -> None:
        self.file = home.keys / "named-api.keys"  # no .json, since every .json there is a wallet's
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[str, ApiKey] = {}

    def all(self) -> list[ApiKey]:
        """All keys, in the order of their creation.

        Raises:
            ConfigError: the file can't be read, or others can read it.
        """
        try:
            about = self.file.stat()
        except FileNotFoundError:
            self._seen, self._keys = None, {}
            return []
        except OSError as error:
            raise ConfigError(f"cannot read {self.file}: {error.strerror}") from error
        seen = (about.st_ino, about.st_mtime_ns, about.st_size)
        if seen != self._seen:
            if about.st_mode & 0o077:
                raise ConfigError(f"{self.file} can be read by others: run `chmod 600 {self.file}`")
            self._keys = {key.name: key for key in self._read()}
            self._seen = seen
        return list(self._keys.values())

    def find(self, secret: str) -> ApiKey | None:
        """The key with this secret. The time depends on the number of keys alone.

        Raises:
            ConfigError: the file can't be read.
        """
        digest, found = digest_of(secret), None
        for key in self.all():
            if secrets.compare_digest(key.digest, digest):
                found = key
        return found

    def add(self, name: str, *, now_s: int, at_once: int) -> str:
        """Make a key and return its secret, which is stored nowhere.

        Raises:
            InputError: the name is taken or not valid, or there are too many keys.
            ConfigError: the file can't be read.
        """
        if not NAME.fullmatch(name):
            raise InputError(
                f"{name!r} can't be the name of a key: take 1 to 40 of a-z, 0-9, '.', '_' and '-', beginning with a "
                "letter or digit"
            )
        secret = f"olk-{secrets.token_urlsafe(SECRET_BYTES)}"
        with self._locked() as keys:
            if name in keys:
                raise InputError(f"the name {name!r} is taken: choose another one, or revoke that key first")
            if len(keys) >= KEYS_MAX:
                raise InputError(f"there are {KEYS_MAX} keys already, which is the most: revoke one first")
            keys[name] = ApiKey(name=name, digest=digest_of(secret), created_s=now_s, at_once=at_once)
        return secret

    def revoke(self, name: str) -> None:
        """Delete a key, so that its next request is refused.

        Raises:
            InputError: there is no such key.
            ConfigError: the file can't be read.
        """
        with self._locked() as keys:
            if keys.pop(name, None) is None:
                raise InputError(f"there is no key {name!r}: `openledger-node keys list` shows them")

    @contextmanager
    def _locked(self) -> Iterator[dict[str, ApiKey]]:
        """The keys to change; they are written if the block ends well. Other processes wait meanwhile."""
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            keys = {key.name: key for key in self.all()}
            yield keys
            content = {"keys": [asdict(key) for key in keys.values()]}
            write_private(self.file, json.dumps(content, indent=1) + "\n", is_new=False)
            self._seen = None
        finally:
            os.close(descriptor)

    def _read(self) -> list[ApiKey]:
        try:
            content = json.loads(self.file.read_text())
            return [_checked(ApiKey(**fields)) for fields in content["keys"]]
        except OSError as error:
            raise ConfigError(f"cannot read {self.file}: {error.strerror}") from error
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ConfigError(
                f"{self.file} is damaged, so no named key can be checked: restore it from a backup, or delete it "
                "and make new keys by `openledger-node keys add NAME`"
            ) from error


def _checked(key: ApiKey) -> ApiKey:
    is_sound = (
        isinstance(key.name, str)
        and NAME.fullmatch(key.name) is not None
        and isinstance(key.digest, str)
        and DIGEST.fullmatch(key.digest) is not None
        and type(key.created_s) is int
        and type(key.at_once) is int
        and 1 <= key.at_once <= AT_ONCE_MAX
    )
    if not is_sound:
        raise ValueError("a field is missing or wrong")
    return key


def digest_of(secret: str) -> str:
    """The form in which a secret is stored. It is 256 random bits, so one hash is enough."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
