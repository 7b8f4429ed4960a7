"""The API key that local programs authenticate with."""

import os
import secrets
from pathlib import Path

from .errors import ConfigError
from .home import Home

KEY_BYTES = 32


def api_key_file(home: Home) -> Path:
    """Return the path of the key file. Only its owner can read it, so local clients can be pointed at it."""
    return home.keys / "api.key"


def load_api_key(home: Home) -> str:
    """Read the API key; the first start draws it.

    Raises:
        ConfigError: others can read the file, or it is empty.
    """
    file = api_key_file(home)
    if not file.exists():
        _write_secret(file, f"olk-{secrets.token_urlsafe(KEY_BYTES)}")
    if file.stat().st_mode & 0o077:
        raise ConfigError(f"{file} can be read by others: run `chmod 600 {file}`")
    key = file.read_text().strip()
    if not key:
        raise ConfigError(f"{file} is empty: delete it, and the next start creates a new key")
    return key


def _write_secret(file: Path, secret: str) -> None:
    """Write through a temporary file, so that a crash leaves either no key or a complete one."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secret + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
