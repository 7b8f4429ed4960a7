"""Limits that a Web3 keystore V3 file keeps before eth-account opens it.

A foreign file may ask for any amount of work and memory, and eth-account spends both.
"""

import re
from typing import Any

from openledger_protocol.errors import MalformedError

from .text import size_text

VERSION = 3
SCRYPT_N_MAX, SCRYPT_R_MAX, SCRYPT_P_MAX = 2**19, 8, 16  # at most 128 · n · r = 512 MiB
PBKDF2_COUNT_MAX = 10_000_000  # ten times the count that wallets write
SCRYPT_N_MIN, SCRYPT_NR_MIN = 2**12, 2**15  # geth's --lightkdf, the weakest that wallets write: n = 4096, r = 8
PBKDF2_COUNT_MIN = 10_000
DERIVED_BYTES = 32  # the first half locks the key, the second half is in the MAC
COUNT_END = 2**63

_FORMS = {
    "cipher": "aes-128-ctr",
    "ciphertext": "[0-9a-fA-F]{64}",
    "mac": "[0-9a-fA-F]{64}",
    "iv": "[0-9a-fA-F]{32}",
    "kdf": "scrypt|pbkdf2",
    "salt": "([0-9a-fA-F]{2})+",
}

_COUNTS = {"scrypt": ("n", "r", "p"), "pbkdf2": ("c",)}


def check_keystore(content: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a keystore that eth-account reads, if they are well formed, and no others.

    eth-account reads names in any case, so a second `KDFParams` would replace the one that was checked.

    Raises:
        MalformedError: it is of another version or form.
    """
    if content.get("version") != VERSION:
        raise MalformedError("it is not a Web3 keystore of version 3")
    crypto = content.get("crypto", content.get("Crypto"))
    if not isinstance(crypto, dict):
        raise _malformed()
    return {"version": VERSION, "address": content.get("address"), "crypto": _checked(crypto)}


def excess_cost(content: dict[str, Any]) -> str | None:
    """The parameters by which a checked keystore takes more to open than wallets ask for; None if it does not."""
    params = content["crypto"]["kdfparams"]
    if content["crypto"]["kdf"] == "pbkdf2":
        too_many = params["c"] > PBKDF2_COUNT_MAX
        return f"pbkdf2 with c = {params['c']:,} (at most {PBKDF2_COUNT_MAX:,})" if too_many else None
    n, r, p = params["n"], params["r"], params["p"]
    if n <= SCRYPT_N_MAX and r <= SCRYPT_R_MAX and p <= SCRYPT_P_MAX:
        return None
    most = f"at most n = {SCRYPT_N_MAX:,}, r = {SCRYPT_R_MAX} and p = {SCRYPT_P_MAX}"
    return f"{size_text(128 * n * r)} of memory, by scrypt with n = {n:,}, r = {r:,} and p = {p:,} ({most})"


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


def _checked(crypto: dict[str, Any]) -> dict[str, Any]:
    parts = [crypto, crypto.get("cipherparams"), crypto.get("kdfparams")]
    found = {name: value for part in parts if isinstance(part, dict) for name, value in part.items()}
    texts = {name: found[name] for name in _FORMS if isinstance(found.get(name), str)}
    if any(not re.fullmatch(form, texts.get(name, "")) for name, form in _FORMS.items()):
        raise _malformed()
    counts = {name: found.get(name) for name in ("dklen", *_COUNTS[found["kdf"]])}
    if not all(type(count) is int and 1 <= count < COUNT_END for count in counts.values()):
        raise _malformed()
    if counts["dklen"] != DERIVED_BYTES:
        raise _malformed()  # a shorter key leaves nothing for the MAC, so every password would open it
    if found["kdf"] == "scrypt" and found["n"].bit_count() != 1:
        raise _malformed()
    if found["kdf"] == "pbkdf2" and found.get("prf") != "hmac-sha256":
        raise _malformed()
    return {
        **{name: texts[name] for name in ("cipher", "ciphertext", "kdf", "mac")},
        "cipherparams": {"iv": texts["iv"]},
        "kdfparams": {"salt": texts["salt"], "prf": "hmac-sha256", **counts},
    }


def _malformed() -> MalformedError:
    return MalformedError("its field crypto is not valid for a keystore V3")
