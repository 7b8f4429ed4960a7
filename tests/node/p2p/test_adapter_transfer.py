"""Fetching an adapter from peers of whom each may lie, stall or die, and resuming after our own end."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import trio
from support.economies import key_of
from support.keepers import ADA, CONTRIBUTED
from support.sharing import ANN, BOB, CYD, DOT, Answer, Crowd, open_crowd, share_adapter

from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.service import OwnDatanets
from openledger_node.datanets.version import make_version, read_version, version_file, write_version
from openledger_node.economy import pulling
from openledger_node.economy.pulling import fetched_to_plain
from openledger_node.errors import ConfigError, NetworkError, NodeError
from openledger_node.home import Home
from openledger_node.inference.adapters import Adapter, artifact_digest, list_adapters, read_shelf
from openledger_node.inference.bases import FAKE_BASE
from openledger_node.p2p.adapter_transfer import Limits
from openledger_node.p2p.partial import PARTIALS_MAX, Partial
from openledger_node.p2p.provider import ANSWER_S
from openledger_protocol.adapter import adapter_id, manifest_from_json
from openledger_protocol.codec import sha256_digest, to_plain
from openledger_protocol.constants import CHUNK_BYTES
from openledger_protocol.errors import AdapterRefusedError, OverloadedError
from openledger_protocol.primitives import AdapterId, Digest
from openledger_protocol.wire.inference import Ping, error_message
from openledger_protocol.wire.inference import encode as encode_inference
from openledger_protocol.wire.transfer import (
    ChunkMessage,
    FileEntry,
    GetChunk,
    TransferManifest,
    TransferMessage,
    chunk_digests,
)

WEIGHTS = "adapter_model.safetensors"
INDEX = "attribution/manifest.json"
THIEF = key_of("thief").address
VERSION = "datanets/lake/1.json"
UNKNOWN = AdapterId("0x" + "12" * 32)


@pytest.fixture
def clock() -> trio.testing.MockClock:
    """Time jumps while nothing happens; a thread that reads the disk is something."""
    return trio.testing.MockClock(autojump_threshold=0.5)


@pytest.fixture
async def crowd(tmp_path: Path) -> AsyncIterator[Crowd]:
    async with open_crowd(tmp_path) as opened:
        yield opened


@pytest.fixture
def adapter(crowd: Crowd) -> Adapter:
    return share_adapter(crowd.shared)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def partials(home: Home) -> list[Path]:
    return list(home.adapters.glob(".*"))


def is_bulk(question: TransferMessage) -> bool:
    return isinstance(question, GetChunk) and question.path == WEIGHTS


# ---- honest peers


async def test_an_adapter_comes_whole_from_three_peers_at_once(crowd: Crowd, adapter: Adapter) -> None:
    for peer in (ANN, BOB, CYD):
        await crowd.add(peer)
    fetched = await crowd.fetch(adapter.id, ANN, BOB, CYD)
    assert contents(fetched.adapter.folder) == contents(adapter.folder)
    assert [found.id for found in list_adapters(crowd.ours)] == [adapter.id]
    assert (fetched.dropped, fetched.missing_versions, partials(crowd.ours)) == ({}, {}, [])
    assert read_version(crowd.ours, "lake", "1") == read_version(crowd.shared, "lake", "1")
    assert all(any(map(is_bulk, crowd.asked[peer])) for peer in (ANN, BOB, CYD))
    sizes = sum(map(len, contents(adapter.folder).values()))
    assert fetched.size_bytes > sizes - 1
    assert fetched_to_plain(fetched) == {
        "adapter": adapter.full_name,
        "digest": adapter.id,
        "from_peer": fetched.from_peer,
        "bytes": fetched.size_bytes,
        "duration_s": round(fetched.duration_s, 3),
        "missing_versions": {},
    }


async def test_an_adapter_that_is_here_is_not_fetched_again(crowd: Crowd, adapter: Adapter) -> None:
    await crowd.add(ANN)
    await crowd.fetch(adapter.id, ANN)
    asked = len(crowd.asked[ANN])
    again = await crowd.fetch(adapter.id, ANN)
    assert (again.size_bytes, again.from_peer, len(crowd.asked[ANN])) == (0, None, asked)


async def test_an_adapter_without_index_or_datanet_comes_too(crowd: Crowd) -> None:
    plain = share_adapter(crowd.shared, with_index=False, datanets=None)
    await crowd.add(ANN)
    fetched = await crowd.fetch(plain.id, ANN)
    assert contents(fetched.adapter.folder) == contents(plain.folder)
    assert not crowd.ours.datanets.exists()


# ---- peers that are not


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
    "says that it has none": (
        changed_list(lambda _: error_message(OverloadedError("too many"))),
        "too many",
    ),
    "says nothing": (lambda *_: None, f"it took longer than {ANSWER_S:g} s to send its list"),
    "sends noise": (lambda *_: b"\xff" * 99, "over its cap"),
    "sends no frame": (lambda *_: b"\x00\x00\x00\x02\x93\x01", "not a msgpack frame"),
    "speaks another protocol": (lambda *_: encode_inference(Ping()), "a message has no t 'ping'"),
    "lists another adapter": (
        changed_list(lambda listed: replace(listed, id=UNKNOWN)),
        "something else in place of its list",
    ),
    "lists no weights": (
        changed_list(lambda each: replace(each, files=tuple(f for f in each.files if f.path != WEIGHTS))),
        "adapter_model.safetensors is missing",
    ),
    "lists a file twice": (changed_list(lambda each: replace(each, files=each.files * 2)), "listed twice"),
    "climbs": (
        changed_entry("adapter_config.json", lambda each: replace(each, path="../../keys/wallet.json")),
        "not a file of an adapter",
    ),
    "names a key": (changed_entry(INDEX, lambda each: replace(each, path="attribution/../../keys/x")), "not a file"),
    "lists too many bytes": (changed_entry(WEIGHTS, lambda each: replace(each, size_bytes=2**31)), "can't have"),
    "lists an endless file": (
        changed_entry(WEIGHTS, lambda each: replace(each, size_bytes=9_000 * CHUNK_BYTES, chunks=each.chunks * 1800)),
        "chunks: must be a list of 0 to 8192",
    ),
    "lists other weights": (forged_file(WEIGHTS, b"others"), "its weights have digest"),
    "lists longer weights": (changed_entry(WEIGHTS, grown), "the other side"),  # it has no such chunk
    "lists a large manifest": (forged_file("adapter.json", b" " * (CHUNK_BYTES + 1)), "adapter.json is not listed"),
    "has another manifest": (forged_file("adapter.json", b"{}"), "adapter.json can't be read"),
    "has a deep manifest": (forged_file("adapter.json", b"[" * 9_999), "adapter.json can't be read"),
    "has a manifest of bytes": (forged_file("adapter.json", b"\xff\xfe"), "adapter.json can't be read"),
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


@pytest.mark.parametrize("name", LIARS)
async def test_a_peer_that_lies_stalls_or_dies_is_left_for_the_next(
    crowd: Crowd, adapter: Adapter, clock: trio.testing.MockClock, name: str
) -> None:
    answer, reason = LIARS[name]
    await crowd.add(ANN, answer)
    await crowd.add(BOB)
    fetched = await crowd.fetch(adapter.id, ANN, DOT, BOB)
    assert contents(fetched.adapter.folder) == contents(adapter.folder)
    assert set(fetched.dropped) - {ANN} == {DOT}
    assert reason in fetched.dropped.get(ANN, "never asked for what it lies about")
    assert partials(crowd.ours) == []


@pytest.mark.parametrize("name", LIARS)
async def test_of_liars_alone_nothing_reaches_the_shelf(
    crowd: Crowd, adapter: Adapter, clock: trio.testing.MockClock, name: str
) -> None:
    answer, reason = LIARS[name]
    await crowd.add(ANN, answer)
    with pytest.raises(NetworkError) as refusal:
        await crowd.fetch(adapter.id, ANN)
    assert "(ann: " in str(refusal.value)
    assert reason in str(refusal.value)
    shelf = read_shelf(crowd.ours)
    assert (shelf.adapters, shelf.refused) == ([], {})
    assert not crowd.ours.datanets.exists()


async def test_a_lie_that_most_tell_is_found_out_when_the_file_is_whole(crowd: Crowd, adapter: Adapter) -> None:
    for peer in (ANN, BOB):
        await crowd.add(peer, swapped_chunks)
    await crowd.add(CYD)
    fetched = await crowd.fetch(adapter.id, ANN, BOB, CYD)
    assert (set(fetched.dropped), fetched.from_peer) == ({ANN, BOB}, CYD)
    assert contents(fetched.adapter.folder) == contents(adapter.folder)


async def test_a_chunk_of_garbage_does_not_spoil_what_others_sent(crowd: Crowd, adapter: Adapter) -> None:
    await crowd.add(ANN, LIARS["sends another chunk"][0])
    await crowd.add(BOB)
    fetched = await crowd.fetch(adapter.id, ANN, BOB)
    assert set(fetched.dropped) == {ANN}
    chunks = [each.index for each in crowd.asked[BOB] if isinstance(each, GetChunk) and each.path == WEIGHTS]
    assert len(chunks) == len(set(chunks)), "none is asked twice of an honest peer"


async def test_nobody_who_offers_it_is_said_so(crowd: Crowd) -> None:
    with pytest.raises(NetworkError, match="nobody offers it"):
        await crowd.fetch(UNKNOWN)
    await crowd.add(ANN)
    with pytest.raises(NetworkError, match=r"dot: no peer dot .*; ann: the other side"):
        await crowd.fetch(UNKNOWN, ANN, DOT)


# ---- our own end


async def test_what_came_before_an_end_is_not_fetched_again(
    crowd: Crowd, adapter: Adapter, clock: trio.testing.MockClock
) -> None:
    numbers = count()
    await crowd.add(ANN, changed_chunk(WEIGHTS, lambda chunk: chunk if next(numbers) < 3 else None))
    with pytest.raises(NetworkError):
        await crowd.fetch(adapter.id, ANN)
    assert list_adapters(crowd.ours) == []
    await crowd.add(BOB)
    fetched = await crowd.fetch(adapter.id, BOB)
    assert contents(fetched.adapter.folder) == contents(adapter.folder)
    asked = {each.index for each in crowd.asked[BOB] if isinstance(each, GetChunk) and each.path == WEIGHTS}
    assert asked == {3, 4}


async def test_what_lies_there_and_is_not_right_is_fetched_anew(crowd: Crowd, adapter: Adapter) -> None:
    with Partial.opened(crowd.ours, adapter.id) as place:
        place.write_small(WEIGHTS, b"x" * 2_000_000)
        place.write_small("attribution/rows-0.sha256", b"short")
        place.write_small("attribution/strange", b"not listed")
    await crowd.add(ANN)
    fetched = await crowd.fetch(adapter.id, ANN)
    assert (fetched.adapter.folder / WEIGHTS).read_bytes() == (adapter.folder / WEIGHTS).read_bytes()


@pytest.mark.parametrize("step", ["add_adapter", "open_index", "write_version"])
async def test_a_crash_leaves_nothing_on_the_shelf_and_the_next_pull_goes_on(
    crowd: Crowd, adapter: Adapter, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class PowerCutError(BaseException):
        pass

    def crash(*_: object, **__: object) -> None:
        raise PowerCutError

    await crowd.add(ANN)
    with monkeypatch.context() as patch:
        patch.setattr(pulling, step, crash)
        with pytest.raises(PowerCutError):
            await crowd.fetch(adapter.id, ANN)
    assert (list_adapters(crowd.ours), len(partials(crowd.ours))) == ([], 1)
    crowd.asked[ANN].clear()
    fetched = await crowd.fetch(adapter.id, ANN)
    assert not any(map(is_bulk, crowd.asked[ANN]))
    assert contents(fetched.adapter.folder) == contents(adapter.folder)
    assert partials(crowd.ours) == []


async def test_one_adapter_is_fetched_once_at_a_time(crowd: Crowd, adapter: Adapter) -> None:
    await crowd.add(ANN)
    with (
        Partial.opened(crowd.ours, adapter.id),
        pytest.raises(ConfigError, match="is being fetched already"),
    ):
        await crowd.fetch(adapter.id, ANN)


async def test_what_was_begun_long_ago_makes_room(crowd: Crowd) -> None:
    for number in range(PARTIALS_MAX + 3):
        with Partial.opened(crowd.ours, AdapterId(f"0x{number:064x}")):
            pass
    assert len(partials(crowd.ours)) == PARTIALS_MAX


# ---- what we do not want, whoever has it


@pytest.mark.parametrize(
    ("limits", "error", "message"),
    [
        (Limits(size_bytes_max=1_000), NetworkError, "ann: its list is of more than 1,000 bytes"),
        (Limits(reserve_bytes=1 << 60), NodeError, "make room"),
    ],
)
async def test_what_takes_too_much_is_not_fetched(
    crowd: Crowd, adapter: Adapter, limits: Limits, error: type[Exception], message: str
) -> None:
    await crowd.add(ANN)
    with pytest.raises(error) as refusal:
        await crowd.fetch(adapter.id, ANN, limits=limits)
    assert message in str(refusal.value)
    assert not any(map(is_bulk, crowd.asked[ANN]))
    assert list_adapters(crowd.ours) == []


async def test_an_adapter_of_another_base_is_refused_before_it_is_fetched(crowd: Crowd, adapter: Adapter) -> None:
    await crowd.add(ANN)
    with pytest.raises(AdapterRefusedError, match="was made for base fake"):
        await crowd.fetch(adapter.id, ANN, base=replace(FAKE_BASE, name="other", digest=Digest("0x" + "ab" * 32)))
    assert not any(map(is_bulk, crowd.asked[ANN]))


async def test_an_adapter_that_can_not_be_served_is_refused_and_not_kept(crowd: Crowd, adapter: Adapter) -> None:
    """Its maker himself wrote these files: all are as the id says."""
    config = adapter.folder / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "peft_type": "PROMPT_TUNING"}))
    made = json.loads((adapter.folder / "adapter.json").read_text())
    made["artifact_digest"] = artifact_digest(adapter.folder)
    (adapter.folder / "adapter.json").write_text(json.dumps(made))
    id = adapter_id(manifest_from_json(made))
    adapter.folder.rename(adapter.folder.with_name(f"lake@{id[2:10]}"))
    await crowd.add(ANN)
    with pytest.raises(AdapterRefusedError):
        await crowd.fetch(id, ANN)
    assert (list_adapters(crowd.ours), partials(crowd.ours)) == ([], [])


# ---- versions: who owns the rows, by the chain's word


def forged_version(question: TransferMessage, honest: TransferMessage) -> object:
    data = json.dumps(to_plain(make_version("lake", "1", CONTRIBUTED, {"ben": THIEF}))).encode()
    if isinstance(honest, TransferManifest):
        return replace(honest, versions=(entry_of(VERSION, data),))
    if isinstance(question, GetChunk) and isinstance(honest, ChunkMessage) and question.path == VERSION:
        return replace(honest, data=data)
    return honest


async def test_a_forged_version_is_left_for_a_true_one(crowd: Crowd, adapter: Adapter) -> None:
    await crowd.add(ANN, forged_version)
    await crowd.add(BOB)
    true = read_version(crowd.shared, "lake", "1")
    fetched = await crowd.fetch(adapter.id, ANN, BOB, is_published=lambda version: version == true)
    assert read_version(crowd.ours, "lake", "1") == true
    assert (set(fetched.dropped), fetched.missing_versions) == ({ANN}, {})


async def test_a_version_that_the_chain_does_not_know_is_not_written(crowd: Crowd, adapter: Adapter) -> None:
    await crowd.add(ANN)
    fetched = await crowd.fetch(adapter.id, ANN, is_published=lambda _: False)
    assert not version_file(crowd.ours, "lake", "1").exists()
    assert "was never published on this network" in fetched.missing_versions[VERSION]
    assert fetched.adapter.id == adapter.id


async def test_a_version_too_large_is_not_taken(crowd: Crowd, adapter: Adapter) -> None:
    await crowd.add(ANN)
    fetched = await crowd.fetch(adapter.id, ANN, limits=Limits(version_bytes_max=9))
    assert "has more than 9 bytes" in fetched.missing_versions[VERSION]


async def test_a_version_of_a_peers_that_has_none_is_missing(crowd: Crowd, adapter: Adapter) -> None:
    version_file(crowd.shared, "lake", "1").unlink()
    await crowd.add(ANN)
    assert (await crowd.fetch(adapter.id, ANN)).missing_versions == {VERSION: "no peer has it"}


async def test_a_version_here_that_nobody_published_gives_way_to_the_chains(crowd: Crowd, adapter: Adapter) -> None:
    write_version(crowd.ours, make_version("lake", "1", CONTRIBUTED))  # as `factory train --rows` writes it
    true = read_version(crowd.shared, "lake", "1")
    await crowd.add(ANN)
    await crowd.fetch(adapter.id, ANN, is_published=lambda version: version == true)
    assert read_version(crowd.ours, "lake", "1") == true


@pytest.mark.parametrize("is_own", [True, False])
async def test_a_version_of_the_same_name_that_is_ours_stays(crowd: Crowd, adapter: Adapter, is_own: bool) -> None:
    ours = make_version("lake", "1", CONTRIBUTED if is_own else CONTRIBUTED[:1])
    write_version(crowd.ours, ours)
    if is_own:
        OwnDatanets(crowd.ours).create(new_datanet("lake", licence="CC0-1.0", treasury=ADA, owner_ppm=0))
    await crowd.add(ANN)
    fetched = await crowd.fetch(adapter.id, ANN, is_published=lambda version: version != ours)
    assert read_version(crowd.ours, "lake", "1") == ours
    assert fetched.missing_versions == {VERSION: "another version 1 of a Datanet lake is here"}
