"""Web3 keystore V3, the form in which wallet programs lock one key with a password.

A foreign file may ask for any amount of work, so its form is checked before it is opened.
"""

import re
import sys
from typing import Any

from openledger_protocol.errors import MalformedError

VERSION = 3
SCRYPT_N_MAX, SCRYPT_R_MAX, SCRYPT_P_MAX = 2**19, 8, 16  # at most 128 · n · r = 512 MiB
PBKDF2_COUNT_MAX = 10_000_000  # ten times the count that wallets write

_FORMS = {
    "cipher": "aes-128-ctr",
    "ciphertext": "[0-9a-fA-F]{64}",
    "mac": "[0-9a-fA-F]{64}",
    "iv": "[0-9a-fA-F]{32}",
    "kdf": "scrypt|pbkdf2",
    "salt": "([0-9a-fA-F]{2})+",
}


def check_keystore(content: dict[str, Any]) -> dict[str, Any]:
    """Return a keystore with its cryptography under `crypto`, if it is well formed.

    Raises:
        MalformedError: it is of another version or form, or opening it takes more work than wallets ask for.
    """
    if content.get("version") != VERSION:
        raise MalformedError("it is not a Web3 keystore of version 3")
    crypto = content.get("crypto", content.get("Crypto"))
    if not isinstance(crypto, dict) or not _is_sound(crypto):
        raise MalformedError("its field crypto is not valid for a keystore V3")
    return {**content, "crypto": crypto}


def lock_key(private_key: bytes, password: str, *, cost: int) -> dict[str, Any]:
    """Lock a key with a password; `cost` is scrypt's n."""
    locked: dict[str, Any] = _encryption().encrypt(private_key, password, kdf="scrypt", iterations=cost)
    return locked


def open_key(content: dict[str, Any], password: str) -> bytes:
    """Open a keystore that `check_keystore` has returned.

    Raises:
        ValueError: the password is wrong; the form was checked before, so nothing else can be.
    """
    return bytes(_encryption().decrypt(content, password))


def _is_sound(crypto: dict[str, Any]) -> bool:
    """Return True if every field is well formed, and opening takes no more time and memory than wallets ask for."""
    parts = [crypto, crypto.get("cipherparams"), crypto.get("kdfparams")]
    found = {name: value for part in parts if isinstance(part, dict) for name, value in part.items()}
    texts = {name: found[name] for name in _FORMS if isinstance(found.get(name), str)}
    if any(not re.fullmatch(form, texts.get(name, "")) for name, form in _FORMS.items()):
        return False
    if not (_is_count(found.get("dklen"), 32) and found["dklen"] == 32):
        return False  # a shorter key leaves nothing for the MAC, so every password would open it
    if found["kdf"] == "pbkdf2":
        return found.get("prf") == "hmac-sha256" and _is_count(found.get("c"), PBKDF2_COUNT_MAX)
    counts = {"n": SCRYPT_N_MAX, "r": SCRYPT_R_MAX, "p": SCRYPT_P_MAX}
    return all(_is_count(found.get(name), most) for name, most in counts.items()) and found["n"].bit_count() == 1


def _is_count(value: object, most: int) -> bool:
    return type(value) is int and 1 <= value <= most


def _encryption() -> Any:
    """Import the library that locks and opens keystore V3. It takes half a second, so only where it is needed.

    NOTE: The import of py_ecc raises the recursion limit of the whole process to 100,000 frames. With this limit,
    deeply nested text from a stranger could overflow the C stack and end the process.
    """
    limit = sys.getrecursionlimit()
    from eth_account import Account

    sys.setrecursionlimit(limit)
    return Account
