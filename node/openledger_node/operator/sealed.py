"""Files that a password encrypts in chunks, so that they never have to fit into memory.

The key comes from the password by scrypt with a salt of the file's own. Chunks are encrypted one by one with
ChaCha20-Poly1305. The nonce is the chunk's number and a flag for the last one, so that nobody can reorder chunks or
cut the file without notice.

Source: STREAM of Hoang, Reyhanitabar, Rogaway and Vizár, "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance" (2015), as used by the format age.
"""

import secrets
from collections.abc import Iterator
from itertools import count
from typing import IO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ..errors import KeyFileError, NodeError

MAGIC: Final = b"openledger.backup/1\n"
CHUNK_BYTES, TAG_BYTES, SALT_BYTES, KEY_BYTES = 64 * 1024, 16, 16, 32
SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 17, 8, 1
"""One guess at the password takes 128 MiB and about half a second."""


def seal(source: IO[bytes], target: IO[bytes], password: str) -> None:
    """Encrypt a file."""
    header = MAGIC + secrets.token_bytes(SALT_BYTES)
    cipher = _cipher(header, password)
    target.write(header)
    for nonce, chunk in _chunks(source, CHUNK_BYTES):
        target.write(cipher.encrypt(nonce, chunk, header))


def unseal(source: IO[bytes], target: IO[bytes], password: str) -> None:
    """Decrypt a file. Trust what is written only once this has returned.

    Raises:
        KeyFileError: the password does not open the file.
        NodeError: the file is damaged or incomplete, or is not a backup.
    """
    header = source.read(len(MAGIC) + SALT_BYTES)
    if len(header) < len(MAGIC) + SALT_BYTES or not header.startswith(MAGIC):
        raise NodeError(f"{source.name} is not a backup of this program, or it ends in its first line")
    cipher, size = _cipher(header, password), 0
    for nonce, chunk in _chunks(source, CHUNK_BYTES + TAG_BYTES):
        try:
            size += target.write(cipher.decrypt(nonce, chunk, header))
        except InvalidTag as error:
            if size:
                why = f"{source.name} is damaged or incomplete after {size:,} bytes: use another copy of the backup"
                raise NodeError(why) from error
            why = f"the password does not open {source.name}, or the file is damaged at its beginning"
            raise KeyFileError(why) from error


def _chunks(source: IO[bytes], chunk_bytes: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield each chunk after its nonce. The last one is shorter or empty, unless the file ends with a whole chunk."""
    chunk = source.read(chunk_bytes)
    for number in count():
        following = source.read(chunk_bytes)
        yield number.to_bytes(11, "big") + bytes([not following]), chunk
        if not following:
            return
        chunk = following


def _cipher(header: bytes, password: str) -> ChaCha20Poly1305:
    kdf = Scrypt(salt=header[-SALT_BYTES:], length=KEY_BYTES, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P)
    return ChaCha20Poly1305(kdf.derive(password.encode()))
