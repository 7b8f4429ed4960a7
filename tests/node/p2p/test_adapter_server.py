"""Files of a home that a peer may have: those of adapters and versions, and not a byte besides."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from support.market_world.swarm import ADAPTER, ANN, LAKE, US, share_adapter
from support.peers import until

from openledger_node.home import Home
from openledger_node.models.adapters import Adapter
from openledger_node.p2p.adapter_listing import version_path
from openledger_node.p2p.adapter_server import AdapterServer
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import Path as PeerPath
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport
from openledger_node.p2p.upload import IDLE_S, STREAMS_PER_PEER
from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.constants import WIRE_VERSION
from openledger_protocol.errors import MalformedError, UnknownModelError
from openledger_protocol.primitives import AdapterId
from openledger_protocol.wire.transfer import GetChunk, GetManifest, encode

SECRET = "the private key"
OTHER_ROWS = f"0x{0:064x}.json"
WEIGHTS = "adapter_model.safetensors"
VERSION_PATH = version_path(LAKE)


@pytest.fixture
def adapter(home: Home) -> Adapter:
    home.keys.mkdir(parents=True)
    (home.keys / "wallet.json").write_text(SECRET)
    return share_adapter(home)


def listed(home: Home, id: AdapterId) -> list[str]:
    found: Any = AdapterServer(home).answer(GetManifest(id=id))
    return [entry.path for entry in (*found.files, *found.versions)]


def chunk(home: Home, id: AdapterId, path: str, index: int = 0) -> bytes:
    found: Any = AdapterServer(home).answer(GetChunk(id=id, path=path, index=index))
    return bytes(found.data)


def test_an_adapters_files_and_its_datanets_version_are_listed_and_sent(home: Home, adapter: Adapter) -> None:
    assert listed(home, adapter.id) == [
        "adapter.json",
        "adapter_config.json",
        WEIGHTS,
        "attribution/manifest.json",
        "attribution/rows-0.sha256",
        "attribution/suffixes-0.u32",
        "attribution/tokens-0.u32",
        VERSION_PATH,
    ]
    assert chunk(home, adapter.id, WEIGHTS, 4) == (adapter.folder / WEIGHTS).read_bytes()[4 << 18 :]
    assert chunk(home, adapter.id, VERSION_PATH) == (home.root / VERSION_PATH).read_bytes()


def test_a_file_that_changes_is_listed_anew(home: Home, adapter: Adapter) -> None:
    server: Any = AdapterServer(home)
    before = server.answer(GetManifest(id=adapter.id))
    assert server.answer(GetManifest(id=adapter.id)) is before
    (adapter.folder / "attribution" / "more").write_bytes(b"x")
    after = server.answer(GetManifest(id=adapter.id))
    assert len(after.files) == len(before.files) + 1


@pytest.mark.parametrize(
    ("path", "index"),
    [
        ("../../keys/wallet.json", 0),
        ("/etc/passwd", 0),
        ("attribution/../../../keys/wallet.json", 0),
        ("datanets/lake/../../keys/wallet.json", 0),
        ("datanets/lake/own/datanet.json", 0),
        ("datanets/lake/2.json", 0),
        (f"datanets/{LAKE.id}/{OTHER_ROWS}", 0),
        ("keys/wallet.json", 0),
        ("", 0),
        (WEIGHTS, 5),
        (WEIGHTS, 1 << 40),
    ],
)
def test_nothing_else_can_be_asked_for(home: Home, adapter: Adapter, path: str, index: int) -> None:
    (home.datanets / "lake" / "own").mkdir(parents=True)
    (home.datanets / "lake" / "own" / "datanet.json").write_text(SECRET)
    (home.datanets / "lake" / "2.json").write_text(SECRET)
    (home.datanets / LAKE.id / OTHER_ROWS).write_text(SECRET)
    with pytest.raises(MalformedError):
        chunk(home, adapter.id, path, index)


def hide_behind_link(place: Path, target: Path) -> None:
    """Move a file or folder away, and put a link in its place."""
    if place.exists():
        place.rename(target)
    place.symlink_to(target)


def test_links_pipes_folders_and_hidden_files_are_passed_over(home: Home, adapter: Adapter) -> None:
    before, index = listed(home, adapter.id), adapter.folder / "attribution"
    (index / "link").symlink_to(home.keys / "wallet.json")
    (index / ".hidden").write_text(SECRET)
    (index / "folder").mkdir()
    os.mkfifo(index / "pipe")
    assert listed(home, adapter.id) == before


@pytest.mark.parametrize("part", ["version", "datanet", "index"])
def test_a_part_that_is_a_link_is_passed_over(home: Home, adapter: Adapter, part: str) -> None:
    places = {
        "version": home.root / VERSION_PATH,
        "datanet": home.datanets / LAKE.id,
        "index": adapter.folder / "attribution",
    }
    before = set(listed(home, adapter.id))
    hide_behind_link(places[part], home.root / "elsewhere")
    assert set(listed(home, adapter.id)) < before


CHANGES: dict[str, Callable[[Path, Path], object]] = {
    "weights": lambda folder, elsewhere: hide_behind_link(folder / WEIGHTS, elsewhere),
    "folder": hide_behind_link,
    "torn": lambda folder, _: (folder / "adapter.json").write_text("[" * 9_999),
    "another": lambda folder, _: rename_datanet(folder / "adapter.json"),
    "removed": lambda folder, _: folder.rename(folder.with_name(f".{folder.name}.removed")),
}


def rename_datanet(manifest: Path) -> None:
    manifest.write_text(manifest.read_text().replace('"lake"', '"lakes"'))


@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_adapter_is_not_served(home: Home, adapter: Adapter, change: str) -> None:
    CHANGES[change](adapter.folder, home.root / "elsewhere")
    # Its manifest alone tells a payer nothing but who must be paid, so it does not wait for the weights.
    path = "adapter_config.json" if change == "weights" else "adapter.json"
    for question in (GetManifest(id=adapter.id), GetChunk(id=adapter.id, path=path, index=0)):
        with pytest.raises(UnknownModelError):
            AdapterServer(home).answer(question)


def test_what_is_not_to_be_shared_is_as_unknown_as_what_is_not_there(home: Home, adapter: Adapter) -> None:
    for server, id in (
        (AdapterServer(home, may_share=lambda _: False), adapter.id),
        (AdapterServer(home), AdapterId("0x" + "00" * 32)),
        (AdapterServer(Home(home.root / "nowhere")), adapter.id),
    ):
        for question in (GetManifest(id=id), GetChunk(id=id, path="adapter.json", index=0)):
            with pytest.raises(UnknownModelError, match=f"no adapter {id} is served here"):
                server.answer(question)


Ask = Callable[[], Awaitable[MessageStream]]


def asker(transport: MemoryTransport) -> Ask:
    """Open streams to the node that serves adapters."""

    async def open_stream() -> MessageStream:
        return MessageStream(await transport.open_stream(US, ADAPTER), frame_bytes_max=DATA_FRAME_BYTES_MAX)

    return open_stream


@pytest.fixture
async def ask(home: Home, adapter: Adapter, nursery: trio.Nursery) -> Ask:
    network = MemoryNetwork()
    ours, theirs = MemoryTransport(network, US), MemoryTransport(network, ANN)
    ours.handle(ADAPTER, AdapterServer(home).serve)
    await nursery.start(ours.run)
    await nursery.start(theirs.run)
    return asker(theirs)


@pytest.mark.parametrize(
    ("question", "code"),
    [
        ({"v": WIRE_VERSION, "t": "steal"}, "malformed"),
        ({"v": 9, "t": "get_manifest"}, "unknown_version"),
        ({"v": WIRE_VERSION, "t": "get_manifest", "id": "0x" + "00" * 32}, "unknown_model"),
    ],
)
async def test_a_wrong_question_is_refused_by_its_code(ask: Ask, question: dict[str, object], code: str) -> None:
    stream = await ask()
    await stream.send(question)
    found = await stream.receive()
    assert (found["t"], found["code"]) == ("error", code)


async def test_a_peer_over_a_relay_gets_only_manifests(home: Home, adapter: Adapter, nursery: trio.Nursery) -> None:
    network = MemoryNetwork()
    ours = MemoryTransport(network, US, is_home=True, can_be_punched=True)
    relay = MemoryTransport(network, PeerId("relay"), serve_relay=True)
    theirs = MemoryTransport(network, ANN, is_home=True, can_be_punched=True)
    ours.handle(ADAPTER, AdapterServer(home, path_to=ours.path_to).serve)
    for transport in (ours, relay, theirs):
        await nursery.start(transport.run)
    await ours.connect(relay.addresses[0])
    await theirs.connect((await ours.reserve(relay.peer_id)).address)
    ask = asker(theirs)
    for question in (GetManifest(id=adapter.id), GetChunk(id=adapter.id, path=WEIGHTS, index=0)):
        stream = await ask()
        await stream.send(encode(GetChunk(id=adapter.id, path="adapter.json", index=0)))
        assert (await stream.receive())["t"] == "chunk"
        await stream.send(encode(question))
        refused = await stream.receive()
        assert (refused["code"], "not sent over relays" in refused["message"]) == ("unavailable", True)
    await until(lambda: theirs.path_to(US) is PeerPath.PUNCHED)
    stream = await ask()
    await stream.send(encode(GetManifest(id=adapter.id)))
    assert (await stream.receive())["t"] == "manifest"


async def test_a_peer_has_so_many_streams_and_gets_another_when_one_ends(ask: Ask, adapter: Adapter) -> None:
    question = encode(GetManifest(id=adapter.id))
    streams = [await ask() for _ in range(STREAMS_PER_PEER)]
    for stream in streams:
        await stream.send(question)
        assert (await stream.receive())["t"] == "manifest"
    third = await ask()
    assert (await third.receive())["code"] == "overloaded"
    await streams[0].aclose()
    await trio.testing.wait_all_tasks_blocked()
    again = await ask()
    await again.send(question)
    assert (await again.receive())["t"] == "manifest"


async def test_a_peer_that_asks_nothing_is_hung_up_on(ask: Ask, autojump_clock: trio.testing.MockClock) -> None:
    stream = await ask()
    with pytest.raises(Exception, match="ended the stream"):
        await stream.receive()
    assert trio.current_time() >= IDLE_S
