"""Rows of another operator's Datanet: checked against the chain, from peers of whom each may lie, stall or die."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from node.network.row_world import ANN, BOB, CHAIN_ID, LAKE_ID, LONG, REGISTRY, RowsAnswer, RowWorld
from node.p2p.adapter_liars import entry_of
from support.contributors import ACCOUNTS, ADA, CONTRIBUTED, key_of

from openledger_node.datanets.held import pulled_training_rows, pulled_versions, read_held, rows_file
from openledger_node.datanets.version import DatanetVersion, make_version, read_published_rows
from openledger_node.errors import NetworkError, NodeError
from openledger_node.ledger.ledger import Ledger
from openledger_node.network import row_pull
from openledger_node.network.row_shelf import NodeShelf
from openledger_node.p2p.partial import PREFIX
from openledger_node.p2p.provider import ANSWER_S
from openledger_node.p2p.rows_fetch import HURRY_S, RowsLimits
from openledger_protocol.codec import to_plain
from openledger_protocol.constants import CHUNK_BYTES
from openledger_protocol.errors import OverloadedError
from openledger_protocol.offer import CONSENT
from openledger_protocol.wire.inference import error_message
from openledger_protocol.wire.rows import ROWS_PART, VERSION_PART, GetPart, PartMessage, RowsListing, RowsMessage

pytestmark = pytest.mark.usefixtures("autojump_clock")

THIEF = key_of("thief").address


@pytest.fixture
def world(tmp_path: Path, nursery: trio.Nursery, ledger: Ledger) -> RowWorld:
    return RowWorld(tmp_path, nursery, ledger)


def no_progress(done_bytes: int, total_bytes: int) -> None:
    assert 0 <= done_bytes <= total_bytes


async def pull(world: RowWorld, words: str = "lake") -> dict[str, Any]:
    """Pull rows into our own data directory."""
    return await world.rows("us", world.home("us")).pull(words, no_progress)


async def offered(world: RowWorld) -> DatanetVersion:
    """A version that is published, and that ann has."""
    version = world.publish()
    await world.add("ann", world.hold("ann", version))
    return version


async def test_an_owners_rows_are_pulled_and_can_be_trained_on(world: RowWorld) -> None:
    version = world.own(world.home("owner"))
    await world.add("ann", world.home("owner"))
    ours, found = world.home("us"), await pull(world)
    assert (found["id"], found["version"], found["rows"]) == (LAKE_ID, 1, 3)
    assert (found["from_peer"], found["dropped"], found["licence"]) == (ANN, {}, "CC-BY-4.0")
    pulled, rows = pulled_training_rows(ours, LAKE_ID)
    assert rows == CONTRIBUTED
    assert (pulled.label.id, pulled.label.on_chain, pulled.label.rows_root) == ("lake", LAKE_ID, version.rows_root)
    assert read_published_rows(ours, LAKE_ID, version.rows_root) == version.rows
    assert not list(ours.datanets.glob(f"{PREFIX}*"))


async def test_a_puller_passes_on_a_sound_copy_and_no_damaged_one_which_it_fetches_again(world: RowWorld) -> None:
    version = await offered(world)
    bobs = world.home("bob")
    exchange = world.rows("first", bobs)
    await exchange.pull(LAKE_ID, no_progress)
    world.providers.clear()
    await world.add("bob", bobs)
    assert (await pull(world, f"{LAKE_ID}@1"))["from_peer"] == BOB
    rows_file(bobs, LAKE_ID, version.rows_root).write_bytes(b"[]")
    with pytest.raises(NetworkError, match="the copy of these rows here is damaged"):
        await world.rows("cyd", world.home("cyd")).pull("lake", no_progress)
    with pytest.raises(NodeError, match="its digest is not that of its version"):
        read_held(bobs, LAKE_ID, version.rows_root)
    world.providers[:] = [ANN]
    await exchange.pull("lake", no_progress)
    assert read_held(bobs, LAKE_ID, version.rows_root) == CONTRIBUTED


async def test_a_pull_that_broke_off_goes_on_from_another_peer(world: RowWorld) -> None:
    version = world.publish(LONG)
    home = world.hold("ann", version, LONG)
    await world.add("ann", home, dies_at(2))
    ours = world.home("us")
    rows = world.rows("us", ours)
    with pytest.raises(NetworkError, match="no peer could send the rows"):
        await rows.pull("lake", no_progress)
    await world.add("bob", home)
    world.providers.remove(ANN)
    found = await rows.pull("lake", no_progress)
    asked = [each.index for each in world.asked[BOB] if isinstance(each, GetPart) and each.part == ROWS_PART]
    assert asked[0] == 2
    assert found["bytes"] < rows_file(ours, LAKE_ID, version.rows_root).stat().st_size


async def test_the_newest_version_is_pulled_unless_one_is_named(world: RowWorld) -> None:
    first, second = world.publish(CONTRIBUTED[:2]), world.publish(number=2)
    await world.add("ann", world.hold("old", first, CONTRIBUTED[:2]))
    await world.add("bob", world.hold("new", second))
    rows = world.rows("us", world.home("us"))
    assert (await rows.pull("lake", no_progress))["version"] == 2
    assert (await rows.pull("lake@1", no_progress))["rows"] == 2
    assert [each.version for each in pulled_versions(world.home("us"))] == [1, 2]


async def test_corrected_contributors_of_the_same_rows_are_pulled_again(world: RowWorld) -> None:
    """Otherwise the contributor whose address was added later would not be paid for adapters of this node."""
    first = world.publish()
    await world.add("ann", world.hold("ann", first))
    ours = world.home("us")
    rows = world.rows("us", ours)
    await rows.pull("lake", no_progress)
    second = world.tell_version(make_version("lake", "2", CONTRIBUTED, {"ben": key_of("ben's new wallet").address}))
    await world.add("bob", world.hold("bob", second))
    found = await rows.pull("lake", no_progress)
    assert (found["version"], found["from_peer"], list(found["dropped"])) == (2, BOB, [ANN])
    assert read_published_rows(ours, LAKE_ID, second.rows_root) == second.rows
    assert (await rows.pull("lake", no_progress))["from_peer"] is None


@pytest.mark.parametrize(
    ("words", "why"),
    [("sea", "there is no Datanet sea on this network"), ("lake@9", "has not published version 9 of it")],
)
async def test_a_version_that_the_chain_or_the_peers_lack_is_refused(world: RowWorld, words: str, why: str) -> None:
    world.publish()
    with pytest.raises(NodeError, match=why):
        await pull(world, words)
    with pytest.raises(NetworkError, match="no peer is known to have them"):
        await pull(world)


async def test_a_name_of_two_datanets_is_refused_with_their_ids(world: RowWorld) -> None:
    world.publish()
    other = "0x" + "34" * 32
    world.tell("DatanetCreated", id=other, owner=THIEF, name="lake", licence="none")
    with pytest.raises(NodeError, match="2 Datanets are called lake") as refused:
        await pull(world)
    assert LAKE_ID in str(refused.value)
    assert other in str(refused.value)


async def test_a_datanet_of_ones_own_is_here_already(world: RowWorld) -> None:
    home = world.home("owner")
    world.own(home)
    with pytest.raises(NodeError, match="Datanet lake is yours"):
        await world.rows("owner", home).pull("lake", no_progress)


def dies_at(index: int) -> RowsAnswer:
    def answer(_: RowsMessage, found: RowsMessage) -> object:
        if isinstance(found, PartMessage) and (found.part, found.index) == (ROWS_PART, index):
            raise RuntimeError("pulled the plug")
        return found

    return answer


def endless_rows(_: RowsMessage, found: RowsMessage) -> object:
    if not isinstance(found, RowsListing):
        return found
    chunks = ("0x" + "11" * 32,) * 8_000
    return replace(found, rows=replace(found.rows, size_bytes=len(chunks) * CHUNK_BYTES, chunks=chunks))


def forged(part: str, content: bytes, *, digest: str = "") -> RowsAnswer:
    """A list and chunks that agree, of another file; the whole may claim the right digest."""

    def answer(_: RowsMessage, found: RowsMessage) -> object:
        if isinstance(found, RowsListing):
            entry = entry_of(part, content)
            old = found.rows if part == ROWS_PART else found.version
            entry = replace(entry, digest=old.digest if digest == "right" else entry.digest)
            changes: Any = {part: entry}
            return replace(found, **changes)
        if isinstance(found, PartMessage) and found.part == part:
            at = found.index * CHUNK_BYTES
            return replace(found, data=content[at : at + CHUNK_BYTES])
        return found

    return answer


def changed_part(**changes: Any) -> RowsAnswer:
    def answer(_: RowsMessage, found: RowsMessage) -> object:
        return replace(found, **changes) if isinstance(found, PartMessage) and found.part == ROWS_PART else found

    return answer


def version_bytes(rows: Any, accounts: Any) -> bytes:
    return json.dumps(to_plain(make_version("lake", "1", rows, accounts))).encode()


def swapped_owners() -> bytes:
    """The right roots, with the rows of two contributors swapped."""
    plain: Any = to_plain(make_version("lake", "1", CONTRIBUTED, ACCOUNTS))
    first, second, *_ = plain["rows"]
    first["account"], second["account"] = second["account"], first["account"]
    return json.dumps(plain).encode()


def unsigned(content: bytes) -> bytes:
    """A version of which each row has an offer that its contributor has not signed."""
    plain = json.loads(content)
    place = {"chain_id": CHAIN_ID, "contract": REGISTRY, "datanet_id": LAKE_ID, "licence": "CC-BY-4.0"}
    said = {"consent": CONSENT, "signature": "0x" + "11" * 64 + "1b"}
    plain["offers"] = [{**place, **said, "account": row["account"], "rows": [row["digest"]]} for row in plain["rows"]]
    return json.dumps(plain).encode()


LIARS: dict[str, tuple[RowsAnswer, str]] = {
    "says that it is busy": (lambda *_: error_message(OverloadedError("too many")), "too many"),
    "says nothing": (lambda *_: None, f"it took longer than {ANSWER_S:g} s to send its list"),
    "has other rows": (forged(ROWS_PART, b"[1]"), "not that on the chain"),
    "promises the right rows and sends others": (
        forged(ROWS_PART, b"[1]", digest="right"),
        "its list of the rows is of another file",
    ),
    "lists an endless file": (endless_rows, "its rows have more than"),
    "sends another chunk": (changed_part(data=b"x"), "has 1 bytes, not"),
    "sends another place": (changed_part(index=7), "something else in place of chunk 0 of the rows"),
    "has a version of noise": (forged(VERSION_PART, b"\xff\xfe"), "its version is not valid JSON"),
    "has a version of other rows": (
        forged(VERSION_PART, version_bytes(CONTRIBUTED[:1], ACCOUNTS)),
        "its version is of other rows",
    ),
    "pays a thief": (
        forged(VERSION_PART, version_bytes(CONTRIBUTED, {"ben": THIEF})),
        "names other contributors than the chain",
    ),
    "shows offers that nobody has signed": (
        forged(VERSION_PART, unsigned(version_bytes(CONTRIBUTED, ACCOUNTS))),
        "no key makes this signature",
    ),
    "pays one contributor for the other's rows": (
        forged(VERSION_PART, swapped_owners()),
        "its version pays row 1 to another account than the row names",
    ),
    "dies before the rows": (dies_at(0), "the other side"),
}


@pytest.mark.parametrize("name", LIARS)
async def test_a_peer_that_lies_stalls_or_dies_is_left_for_the_next(world: RowWorld, name: str) -> None:
    answer, reason = LIARS[name]
    version = world.publish()
    home, ours = world.hold("ann", version), world.home("us")
    await world.add("ann", home, answer)
    with pytest.raises(NetworkError, match="no peer could send the rows"):
        await pull(world)
    assert pulled_versions(ours) == []
    with pytest.raises(NodeError, match=f"is not here: `openledger-node datanet pull {LAKE_ID}`"):
        pulled_training_rows(ours, LAKE_ID)
    await world.add("bob", home)
    found = await pull(world)
    assert found["from_peer"] == BOB
    assert reason in found["dropped"][ANN]
    assert pulled_training_rows(ours, LAKE_ID)[1] == CONTRIBUTED
    assert read_published_rows(ours, LAKE_ID, version.rows_root) == version.rows


async def test_rows_that_are_too_large_are_refused_before_they_are_fetched(world: RowWorld) -> None:
    version = world.publish(LONG)
    await world.add("ann", world.hold("ann", version, LONG))
    rows = world.rows("us", world.home("us"), limits=RowsLimits(rows_bytes_max=1_000))
    with pytest.raises(NetworkError, match="its rows have more than 1,000 bytes"):
        await rows.pull("lake", no_progress)
    assert not any(isinstance(each, GetPart) for each in world.asked[ANN])


async def test_a_slow_peer_makes_room_for_a_quick_one_and_is_asked_again_if_that_fails(world: RowWorld) -> None:
    version = world.publish(LONG)
    home = world.hold("ann", version, LONG)
    await world.add("ann", home, pause_s=19.0)
    slow = world.asked[ANN]
    rows = world.rows("us", world.home("us"))
    await world.add("bob", home, changed_part(data=b"x"))
    began_s = trio.current_time()
    found = await rows.pull("lake", no_progress)
    assert (found["from_peer"], list(found["dropped"])) == (ANN, [BOB])
    assert trio.current_time() - began_s > HURRY_S
    assert sum(not isinstance(each, GetPart) for each in slow) == 2  # two streams


async def test_a_pull_has_an_end(world: RowWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_pull, "PULL_S_MAX", 5.0)

    def silent_at_rows(question: RowsMessage, found: RowsMessage) -> object:
        return None if isinstance(question, GetPart) and question.part == ROWS_PART else found

    await world.add("ann", world.hold("ann", world.publish()), silent_at_rows)
    with pytest.raises(NodeError, match="What has arrived is kept"):
        await pull(world)


def withdraw(world: RowWorld, digest: str, account: str = ADA, *, by_owner: bool = False) -> None:
    world.tell("RowsWithdrawn", id=LAKE_ID, account=account, byOwner=by_owner, effectiveAt=1, rows=[digest])


async def test_a_version_with_a_withdrawn_row_is_passed_on_only_after_a_reorganisation(world: RowWorld) -> None:
    version = await offered(world)
    before = world.num_blocks
    withdraw(world, version.rows[0].digest)
    ours = world.rows("us", world.home("us"))
    with pytest.raises(NetworkError, match="rows of this version were withdrawn, so it is no longer passed on"):
        await ours.pull("lake", no_progress)
    assert pulled_versions(world.home("us")) == []
    world.ledger.events.rewind(before)
    withdraw(world, version.rows[0].digest, THIEF)  # a stranger's word, which changes nothing
    assert (await ours.pull("lake", no_progress))["rows"] == 3


async def test_a_holder_that_is_behind_does_not_matter(world: RowWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    version = await offered(world)
    withdraw(world, version.rows[0].digest, by_owner=True)
    monkeypatch.setattr(NodeShelf, "_is_whole", lambda *_: True)  # its chain is behind
    with pytest.raises(NodeError, match=r"1 row of version 1 of Datanet lake .* were withdrawn"):
        await pull(world)


async def test_a_node_announces_only_what_this_chain_has_published_if_it_shares_at_all(world: RowWorld) -> None:
    version = make_version("lake", "1", CONTRIBUTED, ACCOUNTS)
    rows = world.rows("ann", world.hold("ann", version))
    assert rows.topics() == []
    world.publish()
    rows.shelf.refresh()
    assert len(rows.topics()) == 1
    rows.shelf.is_sharing = False
    rows.shelf._found.clear()
    rows.shelf.refresh()
    assert rows.topics() == []
