"""Named API keys: a file with the digest of each one's secret, its daily limits, and when it was revoked."""

import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from openledger_protocol.primitives import Wei

from ..errors import ConfigError, InputError
from ..home import Home, write_private

SECRET_BYTES: Final = 32
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}", re.ASCII)
DIGEST: Final = re.compile("[0-9a-f]{64}")
KEYS_MAX: Final = 1_000
"""A request is compared with every key, so that the time tells nothing about them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One named key. A limit that is None does not limit it."""

    name: str
    digest: str  # SHA-256 of the secret, in hex
    created_s: int
    revoked_s: int | None = None
    day_max_wei: Wei | None = None
    day_tokens_max: int | None = None
    is_prepaid: bool = False


class ApiKeyRing:
    """The named keys of one node. Every call sees what another process has written."""

    def __init__(self, home: Home) -> None:
        self.file = home.keys / "named-api.keys"  # no .json, since every .json there is a wallet's
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[str, ApiKey] = {}

    def all(self) -> list[ApiKey]:
        """All keys, revoked ones too, in the order of their creation.

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
        """The key with this secret, also if it is revoked. The time depends on the number of keys alone.

        Raises:
            ConfigError: the file can't be read.
        """
        digest, found = digest_of(secret), None
        for key in self.all():
            if secrets.compare_digest(key.digest, digest):
                found = key
        return found

    def named(self, name: str) -> ApiKey:
        """The key with this name.

        Raises:
            InputError: there is none.
            ConfigError: the file can't be read.
        """
        for key in self.all():
            if key.name == name:
                return key
        raise InputError(f"there is no key {name!r}: `openledger-node keys list` shows them")

    def add(
        self,
        name: str,
        *,
        now_s: int,
        day_max_wei: Wei | None = None,
        day_tokens_max: int | None = None,
        is_prepaid: bool = False,
    ) -> str:
        """Make a key and return its secret, which is stored nowhere. A name is never used twice.

        Raises:
            InputError: the name is taken or not valid, or there are too many keys.
            ConfigError: the file can't be read.
        """
        check_name(name)
        secret = f"olk-{secrets.token_urlsafe(SECRET_BYTES)}"
        key = ApiKey(
            name=name,
            digest=digest_of(secret),
            created_s=now_s,
            day_max_wei=day_max_wei,
            day_tokens_max=day_tokens_max,
            is_prepaid=is_prepaid,
        )
        with self._locked() as keys:
            if name in keys:
                state = "was used by a revoked key" if keys[name].revoked_s is not None else "is taken"
                raise InputError(f"the name {name!r} {state}: choose another name")
            if len(keys) >= KEYS_MAX:
                raise InputError(f"there are {KEYS_MAX} keys already, which is the most")
            keys[name] = key
        return secret

    def renew(self, name: str) -> str:
        """Give a key another secret and return it. The earlier one is worth nothing from now on.

        Raises:
            InputError: no key has this name, or it is revoked.
            ConfigError: the file can't be read.
        """
        secret = f"olk-{secrets.token_urlsafe(SECRET_BYTES)}"
        self.change(name, digest=digest_of(secret))
        return secret

    def change(self, name: str, **limits: Any) -> ApiKey:
        """Change a key's limits: `day_max_wei`, `day_tokens_max` or `is_prepaid`.

        Raises:
            InputError: no key has this name, or it is revoked.
            ConfigError: the file can't be read.
        """
        with self._locked() as keys:
            key = _active(keys, name)
            keys[name] = replace(key, **limits)
            return keys[name]

    def revoke(self, name: str, *, now_s: int) -> ApiKey:
        """Revoke a key for ever.

        Raises:
            InputError: no key has this name, or it is revoked already.
            ConfigError: the file can't be read.
        """
        return self.change(name, revoked_s=now_s)

    @contextmanager
    def _locked(self) -> Iterator[dict[str, ApiKey]]:
        """The keys to change; they are written if the block ends well. Other processes wait meanwhile."""
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            keys = {key.name: key for key in self.all()}
            yield keys
            content = {"keys": [_plain(key) for key in keys.values()]}
            write_private(self.file, json.dumps(content, indent=1) + "\n", is_new=False)
            self._seen = None
        finally:
            os.close(descriptor)

    def _read(self) -> list[ApiKey]:
        try:
            content = json.loads(self.file.read_text())
            return [_key(fields) for fields in content["keys"]]
        except OSError as error:
            raise ConfigError(f"cannot read {self.file}: {error.strerror}") from error
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ConfigError(
                f"{self.file} is damaged, so no named key can be checked: restore it from a backup, or delete it "
                "and make new keys by `openledger-node keys add NAME`"
            ) from error


def digest_of(secret: str) -> str:
    """The digest under which a secret is stored. A secret has 256 random bits, so a fast hash is enough."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def check_name(name: str) -> None:
    """Require a name that fits in a table, a metric's label and a URL.

    Raises:
        InputError: it does not.
    """
    if not NAME.fullmatch(name):
        raise InputError(
            f"{name!r} can't be the name of a key: use 1 to 40 small letters, digits, dots, dashes and underscores"
        )


def _active(keys: Mapping[str, ApiKey], name: str) -> ApiKey:
    if name not in keys:
        raise InputError(f"there is no key {name!r}: `openledger-node keys list` shows them")
    if keys[name].revoked_s is not None:
        raise InputError(f"the key {name!r} is revoked for ever: make a new one by `openledger-node keys add NAME`")
    return keys[name]


def _plain(key: ApiKey) -> dict[str, Any]:
    wei = None if key.day_max_wei is None else str(key.day_max_wei)
    return {**asdict(key), "day_max_wei": wei}


def _key(fields: Mapping[str, Any]) -> ApiKey:
    """Read one key; every wrong type or missing field is an error."""
    wei = fields["day_max_wei"]
    key = ApiKey(**{**fields, "day_max_wei": None if wei is None else Wei(int(wei))})
    numbers = (key.created_s, key.revoked_s or 0, key.day_tokens_max or 0)
    if not (
        NAME.fullmatch(key.name)
        and DIGEST.fullmatch(key.digest)
        and type(key.is_prepaid) is bool
        and all(type(number) is int for number in numbers)
    ):
        raise ValueError("a key's fields are not valid")
    return key
