"""Keys derived from passwords: each once in a process, and a chosen password at the cost of a drawn one."""

from functools import cache

from Crypto.Protocol import KDF

from openledger_node import keystore

SCRYPT_CHOSEN = keystore.SCRYPT_CHOSEN
"""The real cost: a second, which each key file of a test would take to lock, and again to open."""


def make_cheap() -> None:
    """Lock the key files of this process, and of those forked from it, at the least cost that the format allows."""
    keystore.SCRYPT_CHOSEN = keystore.SCRYPT_DRAWN


def remember_derived() -> None:
    """Derive each key once in this process, since it depends on the arguments alone. Call it before eth-account."""
    KDF.scrypt = cache(KDF.scrypt)
