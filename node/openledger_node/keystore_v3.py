"""Web3 keystore V3, the form in which wallet programs lock one key with a password.

A foreign file may ask for any amount of work, so its form is checked before it is opened.
"""

import hmac
import re
import secrets
import uuid
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from eth_hash.auto import keccak

from openledger_protocol.errors import MalformedError
from openledger_protocol.signatures import address_of

VERSION = 3
SCRYPT_N_MAX, SCRYPT_R_MAX, SCRYPT_P_MAX = 2**19, 8, 16  # at most 128 · n · r = 512 MiB
PBKDF2_COUNT_MAX = 10_000_000  # ten times the count that wallets write
SCRYPT_N_MIN, SCRYPT_NR_MIN = 2**12, 2**15  # geth's --lightkdf, the weakest that wallets write: n = 4096, r = 8
PBKDF2_COUNT_MIN = 10_000
SCRYPT_R, SCRYPT_P = 8, 1  # of the files that this node writes
SCRYPT_LOG_N_PER_R = 16  # RFC 7914: n is less than 2 to the power of 16 · r
SALT_BYTES = IV_BYTES = 16
KEY_BYTES = 32  # the first half locks the key, the second half is in the MAC

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


def weak_point(content: dict[str, Any]) -> str | None:
    """The parameter that makes passwords of a checked keystore cheap to guess, and the least that it must be.

    None: the keystore is as strong as wallets make it.
    """
    params = content["crypto"]["kdfparams"]
    if content["crypto"]["kdf"] == "pbkdf2":
        weak = params["c"] < PBKDF2_COUNT_MIN
        return f"pbkdf2 with c = {params['c']:,} (at least {PBKDF2_COUNT_MIN:,})" if weak else None
    n, r = params["n"], params["r"]
    if n >= SCRYPT_N_MIN and n * r >= SCRYPT_NR_MIN:
        return None
    return f"scrypt with n = {n:,} and r = {r} (at least n = {max(SCRYPT_N_MIN, SCRYPT_NR_MIN // r):,} for this r)"


def lock_key(private_key: bytes, password: str, *, cost: int) -> dict[str, Any]:
    """Lock a key with a password; `cost` is scrypt's n."""
    salt, iv = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(IV_BYTES)
    derived = _derived_key(password, "scrypt", {"salt": salt.hex(), "n": cost, "r": SCRYPT_R, "p": SCRYPT_P})
    ciphertext = _aes_ctr(derived, iv, private_key)
    return {
        "address": address_of(private_key)[2:].lower(),
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": iv.hex()},
            "ciphertext": ciphertext.hex(),
            "kdf": "scrypt",
            "kdfparams": {"dklen": KEY_BYTES, "n": cost, "r": SCRYPT_R, "p": SCRYPT_P, "salt": salt.hex()},
            "mac": _mac(derived, ciphertext).hex(),
        },
        "id": str(uuid.uuid4()),
        "version": VERSION,
    }


def open_key(content: dict[str, Any], password: str) -> bytes:
    """Open a keystore that `check_keystore` has returned.

    Raises:
        ValueError: the password is wrong; the form was checked before, so nothing else can be.
    """
    crypto = content["crypto"]
    derived = _derived_key(password, crypto["kdf"], crypto["kdfparams"])
    ciphertext = bytes.fromhex(crypto["ciphertext"])
    if not hmac.compare_digest(_mac(derived, ciphertext), bytes.fromhex(crypto["mac"])):
        raise ValueError("the MAC differs")
    return _aes_ctr(derived, bytes.fromhex(crypto["cipherparams"]["iv"]), ciphertext)


def _derived_key(password: str, kdf: str, params: dict[str, Any]) -> bytes:
    salt = bytes.fromhex(params["salt"])
    if kdf == "pbkdf2":
        pbkdf2 = PBKDF2HMAC(algorithm=SHA256(), length=KEY_BYTES, salt=salt, iterations=params["c"])
        return pbkdf2.derive(password.encode())
    n, r, p = params["n"], params["r"], params["p"]
    if n < 1 << (SCRYPT_LOG_N_PER_R * r):
        return Scrypt(length=KEY_BYTES, salt=salt, n=n, r=r, p=p).derive(password.encode())
    # Files of old wallets, and the published example, break a limit that OpenSSL holds to.
    from Crypto.Protocol.KDF import scrypt  # every command would pay for its import

    return bytes(scrypt(password.encode(), salt, KEY_BYTES, N=n, r=r, p=p))  # type: ignore[arg-type]


def _aes_ctr(derived: bytes, iv: bytes, text: bytes) -> bytes:
    """Lock or open a text; both are the same."""
    stream = Cipher(algorithms.AES(derived[: KEY_BYTES // 2]), modes.CTR(iv)).encryptor()
    return stream.update(text) + stream.finalize()


def _mac(derived: bytes, ciphertext: bytes) -> bytes:
    return keccak(derived[KEY_BYTES // 2 :] + ciphertext)


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
