"""The stream `adapter`: only an adapter's own files are named, and each chunk is the one that was promised."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.offers import framed
from support.signed import digest

from openledger_protocol.codec import DATA_FRAME_BYTES_MAX, encode_frame
from openledger_protocol.constants import CHUNK_BYTES
from openledger_protocol.errors import AdapterRefusedError, MalformedError, ProtocolError, UnknownVersionError
from openledger_protocol.primitives import AdapterId, Digest
from openledger_protocol.wire.inference import ErrorMessage
from openledger_protocol.wire.transfer import (
    CHUNKS_MAX,
    ChunkMessage,
    FileEntry,
    GetChunk,
    GetManifest,
    TransferManifest,
    TransferMessage,
    check_chunk,
    check_path,
    decode,
    encode,
    file_entry,
)

ID = AdapterId(digest("4"))
WEIGHTS = bytes(range(256)) * 1_024 * 2 + b"end"  # two chunks and three bytes
VERSION = f"datanets/{digest('2')}/{digest('1')}.json"
PATHS = ["adapter.json", "adapter_config.json", "adapter_model.safetensors", "attribution/manifest.json"]


def entry(path: str, content: bytes = b"{}") -> FileEntry:
    chunks = [content[begin : begin + CHUNK_BYTES] for begin in range(0, len(content), CHUNK_BYTES)]
    return file_entry(path, chunks)


MANIFEST = TransferManifest(
    id=ID,
    files=tuple(entry(path, WEIGHTS if path.endswith("safetensors") else b"{}") for path in PATHS),
    versions=(entry(VERSION), entry(f"datanets/{digest('2')}/{digest('3')}.json")),
)
MESSAGES: dict[str, TransferMessage] = {
    "get_manifest": GetManifest(id=ID),
    "manifest": MANIFEST,
    "get_chunk": GetChunk(id=ID, path=PATHS[2], index=2),
    "chunk": ChunkMessage(id=ID, path=PATHS[2], index=2, data=b"end"),
    "error": ErrorMessage(code="unknown_model", message="not here", retryable=False),
}


def manifest_frame() -> dict[str, Any]:
    return framed(encode(MANIFEST))


@pytest.mark.parametrize("name", MESSAGES)
def test_each_message_survives_its_frame_and_requires_each_field(name: str) -> None:
    frame = framed(encode(MESSAGES[name]))
    assert (frame["v"], frame["t"]) == (1, name)
    assert decode({**frame, "later": 1}) == MESSAGES[name]
    for key in set(frame) - {"v", "t"}:
        with pytest.raises(MalformedError, match=f"{name}: {key} is missing"):
            decode({other: value for other, value in frame.items() if other != key})
    with pytest.raises(UnknownVersionError, match="version 2"):
        decode({**frame, "v": 2})


@pytest.mark.parametrize("path", [*PATHS, "attribution/tokens-0.u32", VERSION])
def test_an_adapters_own_files_may_be_asked_for(path: str) -> None:
    assert check_path(path) == path
    assert decode(framed(encode(GetChunk(id=ID, path=path, index=0)))) == GetChunk(id=ID, path=path, index=0)


@pytest.mark.parametrize(
    "path",
    [
        *("", "..", "/etc/passwd", "../adapter.json", "./adapter.json", "adapter.json/", "adapter.json\0"),
        *("adapter.json\n", "ADAPTER.JSON", "adapter_model.bin", "keys/node.json", "a" * 10**6, "C:/adapter.json"),
        *("attribution/", "attribution/../adapter.json", "attribution/a/b", "attribution//a", "attribution/.hidden"),
        *("attribution/a\\b", "attribution/é", "attribution/" + "a" * 65),
        *("datanets/../a.json", "datanets/lake/1.json", VERSION.upper(), VERSION.replace("2", "g"), "/" + VERSION),
        *(VERSION.removesuffix("json") + "txt", VERSION.replace("1.json", ".json"), VERSION.replace("datanets", "x")),
        *(None, b"adapter.json", 1, ["adapter.json"]),
    ],
    ids=lambda path: repr(path)[:30],
)
def test_no_other_path_may(path: Any) -> None:
    with pytest.raises(MalformedError):
        check_path(path)
    with pytest.raises(MalformedError, match="get_chunk: path: not a"):
        decode({"v": 1, "t": "get_chunk", "id": ID, "path": path, "index": 0})
    frame = manifest_frame()
    frame["files"][3]["path"] = path
    with pytest.raises(MalformedError, match="manifest: files: path: not a"):
        decode(frame)


def test_files_and_versions_are_not_mixed_up() -> None:
    frame = manifest_frame()
    frame["files"][3]["path"] = VERSION
    with pytest.raises(MalformedError, match="files: path: not a file of an adapter"):
        decode(frame)
    frame = manifest_frame()
    frame["versions"][0]["path"] = "adapter.json"
    with pytest.raises(MalformedError, match="versions: path: not a Datanet's version"):
        decode(frame)


def test_a_file_is_not_listed_twice_even_by_another_case_and_none_that_is_needed_is_missing() -> None:
    for files in (MANIFEST.files[:1] * 2, (*MANIFEST.files, entry("attribution/Manifest.json"))):
        with pytest.raises(MalformedError, match="a file is listed twice"):
            decode(framed(encode(replace(MANIFEST, files=files))))
    for place, path in enumerate(PATHS[:3]):
        files = MANIFEST.files[:place] + MANIFEST.files[place + 1 :]
        with pytest.raises(MalformedError, match=f"{path} is missing"):
            decode(framed(encode(replace(MANIFEST, files=files))))


@pytest.mark.parametrize("size_bytes", [0, 1, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES + 1, 2**32 - 1])
def test_the_number_of_chunks_fits_the_size(size_bytes: int) -> None:
    frame = manifest_frame()
    frame["files"][2]["size_bytes"] = size_bytes
    with pytest.raises(MalformedError, match=f"{PATHS[2]} of {size_bytes} bytes can't have 3 chunks"):
        decode(frame)


def test_the_largest_manifest_fits_its_frame_and_a_larger_one_is_refused() -> None:
    def sized(chunks: int) -> TransferManifest:
        large = FileEntry(
            path=PATHS[2],
            size_bytes=chunks * CHUNK_BYTES,
            digest=Digest(digest("1")),
            chunks=(Digest(digest("2")),) * chunks,
        )
        return replace(MANIFEST, files=(*MANIFEST.files[:2], large), versions=())

    largest = sized(CHUNKS_MAX - 2)
    assert len(encode_frame(encode(largest))) < DATA_FRAME_BYTES_MAX
    assert decode(framed(encode(largest))) == largest
    with pytest.raises(MalformedError, match="8193 chunks are over the cap of 8192"):
        decode(framed(encode(sized(CHUNKS_MAX - 1))))
    with pytest.raises(MalformedError, match="files: must be a list of 0 to 64"):
        decode({**encode(MANIFEST), "files": [{}] * 65})
    with pytest.raises(MalformedError, match="versions: must be a list of 0 to 8"):
        decode({**encode(MANIFEST), "versions": [{}] * 9})


def test_a_chunk_is_checked_by_place_length_and_digest() -> None:
    weights = MANIFEST.files[2]
    assert check_chunk(weights, 0, WEIGHTS[:CHUNK_BYTES]) == WEIGHTS[:CHUNK_BYTES]
    assert check_chunk(weights, 2, b"end") == b"end"
    for index in (-1, 3):
        with pytest.raises(MalformedError, match=f"has 3 chunks, and none with index {index}"):
            check_chunk(weights, index, b"end")
    with pytest.raises(MalformedError, match=r"chunk 2 of adapter_model\.safetensors has 4 bytes, not 3"):
        check_chunk(weights, 2, b"end!")
    with pytest.raises(AdapterRefusedError, match=r"chunk 2 of adapter_model\.safetensors is not the one"):
        check_chunk(weights, 2, b"End")


def test_a_chunk_of_more_than_its_size_does_not_cross_the_wire() -> None:
    full = ChunkMessage(id=ID, path=PATHS[2], index=0, data=b"\0" * CHUNK_BYTES)
    assert decode(framed(encode(full))) == full
    with pytest.raises(MalformedError, match="chunk: data: must be 0 to 262144 bytes"):
        decode(framed(encode(replace(full, data=b"\0" * (CHUNK_BYTES + 1)))))


@pytest.mark.parametrize("sizes", [(1, 1), (CHUNK_BYTES, 0), (CHUNK_BYTES + 1,), (CHUNK_BYTES, 1, CHUNK_BYTES)])
def test_a_file_comes_in_whole_chunks(sizes: tuple[int, ...]) -> None:
    with pytest.raises(MalformedError, match="must come in chunks of 262144 bytes"):
        file_entry("adapter.json", [b"\0" * size for size in sizes])


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=5), st.lists),
    st.data(),
)
def test_a_strangers_frame_is_read_or_refused_and_never_crashes(value: Any, data: st.DataObject) -> None:
    frame = framed(encode(MESSAGES[data.draw(st.sampled_from(sorted(MESSAGES)))]))
    place: Any = frame
    if frame["t"] == "manifest" and data.draw(st.booleans()):
        place = frame["files"][0]
    place[data.draw(st.sampled_from(sorted(place)))] = value
    with suppress(ProtocolError):
        decode(frame)
