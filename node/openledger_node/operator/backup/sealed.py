"""An encrypted file of any length, written and read in chunks, so that it never has to fit into memory.

The key comes from a passphrase by scrypt with a salt of the file's own. Chunks of 64 KiB are encrypted one by one
with ChaCha20-Poly1305. The nonce is the chunk's number and a flag for the last one, so that nobody can reorder chunks
or cut the file without notice.

Source: STREAM of Hoang, Reyhanitabar, Rogaway and Vizár, "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance" (2015), as used by the format age.
"""

import os
import secrets
import struct
from dataclasses import dataclass
from typing import IO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ...errors import KeyFileError, NodeError

MAGIC: Final = b"openledger.backup/1\n"
CHUNK_BYTES, TAG_BYTES, SALT_BYTES, KEY_BYTES = 64 * 1024, 16, 16, 32
SCRYPT_LOG_N, SCRYPT_LOG_N_MAX, SCRYPT_R, SCRYPT_P = 17, 20, 8, 1
"""One guess at the passphrase takes 128 MiB and about half a second."""

_HEADER: Final = struct.Struct(f"{len(MAGIC)}sB{SALT_BYTES}s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The plain beginning of the file, which every chunk authenticates."""

    log_n: int
    salt: bytes

    def write(self) -> bytes:
        """Write the header."""
        return _HEADER.pack(MAGIC, self.log_n, self.salt)


class SealedWriter:
    """Encrypts what is written; `finish` ends the file."""

    def __init__(self, target: IO[bytes], passphrase: str) -> None:
        header = Header(log_n=SCRYPT_LOG_N, salt=secrets.token_bytes(SALT_BYTES))
        self._target = target
        self._associated = header.write()
        self._cipher = _cipher(header, passphrase)
        self._waiting = bytearray()
        self._number = 0
        target.write(self._associated)

    def write(self, content: bytes) -> int:
        """Encrypt bytes. The last chunk waits, since only `finish` knows that it is the last."""
        self._waiting += content
        while len(self._waiting) > CHUNK_BYTES:
            self._seal(bytes(self._waiting[:CHUNK_BYTES]), is_last=False)
            del self._waiting[:CHUNK_BYTES]
        return len(content)

    def finish(self) -> None:
        """Write the last chunk, and wait until everything is on the disk."""
        self._seal(bytes(self._waiting), is_last=True)
        self._target.flush()
        os.fsync(self._target.fileno())

    def _seal(self, content: bytes, *, is_last: bool) -> None:
        self._target.write(self._cipher.encrypt(_nonce(self._number, is_last=is_last), content, self._associated))
        self._number += 1


class SealedReader:
    """Decrypts a file from its beginning; nothing is returned that was not authenticated.

    Raises:
        NodeError: the file is not a backup.
        KeyFileError: the passphrase does not open it.
    """

    def __init__(self, source: IO[bytes], name: str, passphrase: str) -> None:
        self._source = source
        self._name = name
        header = _read_header(source, name)
        self.salt = header.salt
        self._associated = header.write()
        self._cipher = _cipher(header, passphrase)
        self._number = 0
        self._ahead = source.read(CHUNK_BYTES + TAG_BYTES)
        self._ready = b""
        self._is_over = False
        self._open_next()

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes, or fewer at the end.

        Raises:
            NodeError: the file is damaged or incomplete.
        """
        while len(self._ready) < count and not self._is_over:
            self._open_next()
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken

    def check_rest(self) -> None:
        """Read to the end.

        Raises:
            NodeError: the file is damaged or incomplete.
        """
        while self.read(CHUNK_BYTES):
            pass

    def _open_next(self) -> None:
        sealed, self._ahead = self._ahead, self._source.read(CHUNK_BYTES + TAG_BYTES)
        self._is_over = not self._ahead
        try:
            self._ready += self._cipher.decrypt(_nonce(self._number, is_last=self._is_over), sealed, self._associated)
        except InvalidTag as error:
            raise self._refusal() from error
        self._number += 1

    def _refusal(self) -> NodeError:
        if self._number == 0:
            return KeyFileError(f"the password does not open {self._name}, or the file is damaged at its beginning")
        at = self._number * CHUNK_BYTES
        return NodeError(f"{self._name} is damaged or incomplete after {at:,} bytes: use another copy of the backup")


def _cipher(header: Header, passphrase: str) -> ChaCha20Poly1305:
    kdf = Scrypt(salt=header.salt, length=KEY_BYTES, n=1 << header.log_n, r=SCRYPT_R, p=SCRYPT_P)
    return ChaCha20Poly1305(kdf.derive(passphrase.encode()))


def _read_header(source: IO[bytes], name: str) -> Header:
    content = source.read(_HEADER.size)
    if not content.startswith(MAGIC) or len(content) < _HEADER.size:
        raise NodeError(f"{name} is not a backup of this program, or it ends in its first line")
    _, log_n, salt = _HEADER.unpack(content)
    if not 0 < log_n <= SCRYPT_LOG_N_MAX:
        raise NodeError(f"{name} is damaged at its beginning: use another copy of the backup")
    return Header(log_n=log_n, salt=salt)


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])
