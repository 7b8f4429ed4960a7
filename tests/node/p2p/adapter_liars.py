"""Peers that lie about an adapter, stall or die, and what is then said of them."""

import json
from collections.abc import Callable
from dataclasses import replace

from support.market_world.swarm import WEIGHTS, Answer, is_bulk

from openledger_node.p2p.provider import ANSWER_S
from openledger_protocol.codec import sha256_digest
from openledger_protocol.constants import CHUNK_BYTES
from openledger_protocol.errors import OverloadedError
from openledger_protocol.primitives import AdapterId
from openledger_protocol.wire.inference import error_message
from openledger_protocol.wire.transfer import (
    ChunkMessage,
    FileEntry,
    GetChunk,
    TransferManifest,
    TransferMessage,
    chunk_digests,
)

INDEX = "attribution/manifest.json"
UNKNOWN = AdapterId("0x" + "12" * 32)


def changed_list(change: Callable[[TransferManifest], object]) -> Answer:
    return lambda _, honest: change(honest) if isinstance(honest, TransferManifest) else honest


def changed_entry(path: str, change: Callable[[FileEntry], FileEntry]) -> Answer:
    def change_list(listed: TransferManifest) -> TransferManifest:
        return replace(listed, files=tuple(change(each) if each.path == path else each for each in listed.files))

    return changed_list(change_list)


def changed_chunk(path: str, change: Callable[[ChunkMessage], object]) -> Answer:
    def answer(question: TransferMessage, honest: TransferMessage) -> object:
        is_it = isinstance(honest, ChunkMessage) and isinstance(question, GetChunk) and question.path == path
        return change(honest) if is_it else honest  # type: ignore[arg-type]  # a chunk, as just seen

    return answer


def forged_file(path: str, content: bytes) -> Answer:
    """A list and chunks that agree, of another file than the adapter's."""

    def answer(question: TransferMessage, honest: TransferMessage) -> object:
        if isinstance(honest, TransferManifest):
            forged = entry_of(path, content)
            files = tuple(forged if each.path == path else each for each in honest.files)
            return replace(honest, files=files)
        if isinstance(question, GetChunk) and isinstance(honest, ChunkMessage) and question.path == path:
            at = question.index * CHUNK_BYTES
            return replace(honest, data=content[at : at + CHUNK_BYTES])
        return honest

    return answer


def entry_of(path: str, content: bytes) -> FileEntry:
    return FileEntry(path=path, size_bytes=len(content), digest=sha256_digest(content), chunks=chunk_digests(content))


def swapped_chunks(question: TransferMessage, honest: TransferMessage) -> object:
    """The right digest of the whole, and chunks that are as promised and make another file."""
    other = bytes(CHUNK_BYTES)
    if isinstance(honest, TransferManifest):
        return changed_entry(WEIGHTS, lambda each: replace(each, chunks=(sha256_digest(other), *each.chunks[1:])))(
            question, honest
        )
    if isinstance(question, GetChunk) and isinstance(honest, ChunkMessage) and is_bulk(question):
        return replace(honest, data=other) if question.index == 0 else honest
    return honest


def dies(_question: TransferMessage, honest: TransferMessage) -> object:
    if isinstance(honest, ChunkMessage) and honest.path == WEIGHTS and honest.index > 0:
        raise RuntimeError("pulled the plug")
    return honest


def grown(each: FileEntry) -> FileEntry:
    return replace(each, size_bytes=each.size_bytes + CHUNK_BYTES, chunks=(*each.chunks, each.chunks[0]))


LIARS: dict[str, tuple[Answer, str]] = {
    "says that it has none": (changed_list(lambda _: error_message(OverloadedError("too many"))), "too many"),
    "says nothing": (lambda *_: None, f"it took longer than {ANSWER_S:g} s to send its list"),
    "sends noise": (lambda *_: b"\xff" * 99, "over its cap"),
    "lists another adapter": (
        changed_list(lambda listed: replace(listed, id=UNKNOWN)),
        "something else in place of its list",
    ),
    "climbs": (
        changed_entry("adapter_config.json", lambda each: replace(each, path="../../keys/wallet.json")),
        "not a file of an adapter",
    ),
    "lists other weights": (forged_file(WEIGHTS, b"others"), "its weights have digest"),
    "lists longer weights": (changed_entry(WEIGHTS, grown), "the other side"),  # it has no such chunk
    "lists a large manifest": (forged_file("adapter.json", b" " * (CHUNK_BYTES + 1)), "adapter.json is not listed"),
    "has a deep manifest": (forged_file("adapter.json", b"[" * 9_999), "adapter.json can't be read"),
    "has another index": (forged_file(INDEX, b'{"datanets": []}'), "the index has root"),
    "has an index of noise": (forged_file(INDEX, b'{"datanets": [7]}'), "attribution/manifest.json can't be read"),
    "has an index that climbs": (
        forged_file(INDEX, json.dumps({"datanets": [{"files": {"../../x": "0x00"}}]}).encode()),
        "attribution/manifest.json can't be read",
    ),
    "lists other tokens": (forged_file("attribution/tokens-0.u32", bytes(8)), "listed under another digest"),
    "sends another chunk": (
        changed_chunk(WEIGHTS, lambda chunk: replace(chunk, data=bytes(len(chunk.data)))),
        "is not the one that the list promised",
    ),
    "sends a short chunk": (changed_chunk(WEIGHTS, lambda chunk: replace(chunk, data=b"x")), "has 1 bytes, not"),
    "sends another place": (
        changed_chunk(WEIGHTS, lambda chunk: replace(chunk, index=chunk.index + 1)),
        "something else in place of chunk",
    ),
    "stalls in the middle": (changed_chunk(WEIGHTS, lambda _: None), "to send a chunk"),
    "dies in the middle": (dies, "the other side"),
    "promised other chunks": (swapped_chunks, "its list of adapter_model.safetensors is of another file"),
}
