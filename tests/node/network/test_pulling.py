"""Versions that come with an adapter: who owns the rows is the chain's word, and never a peer's."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from node.p2p.adapter_liars import entry_of
from support.contributors import ADA, CONTRIBUTED, key_of
from support.market_world.swarm import ANN, BOB, CYD, DOT, LAKE, VERSION, Swarm, is_bulk, open_swarm, share_adapter

from openledger_node.datanets.version import (
    DatanetVersion,
    make_version,
    published_file,
    read_published,
    read_version,
    write_published,
    write_version,
)
from openledger_node.models.adapters import Adapter
from openledger_node.p2p.adapter_fetch import FetchLimits
from openledger_node.p2p.adapter_listing import version_path
from openledger_protocol.codec import to_plain
from openledger_protocol.errors import UnavailableError
from openledger_protocol.wire.transfer import ChunkMessage, GetChunk, TransferManifest, TransferMessage

PATH = version_path(LAKE)
THIEF = key_of("thief").address


@pytest.fixture
async def swarm(tmp_path: Path) -> AsyncIterator[Swarm]:
    async with open_swarm(tmp_path) as opened:
        yield opened


@pytest.fixture
def adapter(swarm: Swarm) -> Adapter:
    return share_adapter(swarm.shared)


def instead(version: DatanetVersion, question: TransferMessage, honest: TransferMessage) -> object:
    """Answer with another version."""
    data = json.dumps(to_plain(version)).encode()
    if isinstance(honest, TransferManifest):
        return replace(honest, versions=(entry_of(PATH, data),))
    if isinstance(question, GetChunk) and isinstance(honest, ChunkMessage) and question.path == PATH:
        return replace(honest, data=data)
    return honest


forged_version = partial(instead, make_version("lake", "1", CONTRIBUTED, {"ben": THIEF}))


async def test_a_forged_version_is_left_for_a_true_one(swarm: Swarm, adapter: Adapter) -> None:
    await swarm.add(ANN, forged_version)
    await swarm.add(BOB)
    fetched = await swarm.fetch(
        adapter.id, ANN, BOB, is_published=lambda id, version: (id, version) == (LAKE.id, VERSION)
    )
    assert read_published(swarm.ours, LAKE) == VERSION
    assert (set(fetched.dropped), fetched.missing_versions) == ({ANN}, {})


@pytest.mark.parametrize(
    ("version", "options", "why"),
    [
        (VERSION, {"is_published": lambda *_: False}, "was never published on this network"),
        (VERSION, {"limits": FetchLimits(version_bytes_max=9)}, "has more than 9 bytes"),
        (make_version("lake", "1", CONTRIBUTED[:1], {"ben": ADA}), {}, "is not the version that the adapter was"),
    ],
    ids=["unknown to the chain", "too large", "of other rows"],
)
async def test_a_version_that_is_unknown_or_wrong_is_not_written(
    swarm: Swarm, adapter: Adapter, version: DatanetVersion, options: dict[str, Any], why: str
) -> None:
    await swarm.add(ANN, partial(instead, version))
    fetched = await swarm.fetch(adapter.id, ANN, **options)
    assert why in fetched.missing_versions[PATH]
    assert fetched.adapter.id == adapter.id
    assert not published_file(swarm.ours, LAKE.id, LAKE.rows_root).exists()


async def test_a_second_pull_brings_only_the_versions_that_the_first_missed(swarm: Swarm, adapter: Adapter) -> None:
    """F: an adapter that was pulled before its node had read the publication could never be sold or checked there."""
    await swarm.add(ANN)
    first = await swarm.fetch(adapter.id, ANN, is_published=lambda *_: False)
    swarm.asked[ANN].clear()
    again = await swarm.fetch(adapter.id, ANN)
    assert (again.missing_versions, read_published(swarm.ours, LAKE)) == ({}, VERSION)
    assert again.adapter.id == first.adapter.id == adapter.id
    assert not any(map(is_bulk, swarm.asked[ANN]))
    assert list(swarm.ours.adapters.glob(".*")) == []
    third = await swarm.fetch(adapter.id, ANN)
    assert (third.size_bytes, third.from_peer) == (0, None)


async def test_peers_without_the_rows_don_t_hide_one_that_has_them(swarm: Swarm, adapter: Adapter) -> None:
    """F: only the three peers that sent the adapter were asked."""

    def without(question: TransferMessage, honest: TransferMessage) -> object:
        return replace(honest, versions=()) if isinstance(honest, TransferManifest) else honest

    for peer_id in (ANN, BOB, CYD):
        await swarm.add(peer_id, without)
    await swarm.add(DOT)
    fetched = await swarm.fetch(adapter.id, ANN, BOB, CYD, DOT)
    assert (fetched.missing_versions, read_published(swarm.ours, LAKE)) == ({}, VERSION)


async def test_a_peer_is_no_liar_while_nobody_can_say_what_was_published(swarm: Swarm, adapter: Adapter) -> None:
    def is_published(*_: object) -> bool:
        raise UnavailableError("the chain is away")

    for peer_id in (ANN, BOB):
        await swarm.add(peer_id)
    fetched = await swarm.fetch(adapter.id, ANN, BOB, is_published=is_published)
    assert (fetched.dropped, fetched.missing_versions) == ({}, {PATH: "the chain is away"})


async def test_a_version_that_nobody_can_judge_hides_none_that_is_known(swarm: Swarm, adapter: Adapter) -> None:
    def is_published(_: object, version: DatanetVersion) -> bool:
        if version != VERSION:
            raise UnavailableError("the chain is away")
        return True

    await swarm.add(ANN, forged_version)
    await swarm.add(BOB)
    fetched = await swarm.fetch(adapter.id, ANN, BOB, is_published=is_published)
    assert (fetched.missing_versions, read_published(swarm.ours, LAKE)) == ({}, VERSION)


async def test_a_version_that_was_made_here_is_not_asked_for(swarm: Swarm, adapter: Adapter) -> None:
    write_version(swarm.ours, VERSION)
    await swarm.add(ANN)
    assert (await swarm.fetch(adapter.id, ANN)).missing_versions == {}
    assert not any(isinstance(question, GetChunk) and question.path == PATH for question in swarm.asked[ANN])


@pytest.mark.parametrize("content", ["", "{}", "true"])
async def test_a_damaged_or_unpublished_version_is_replaced(swarm: Swarm, adapter: Adapter, content: str) -> None:
    file = write_published(swarm.ours, LAKE.id, make_version("lake", "1", CONTRIBUTED))
    if content != "true":
        file.write_text(content)
    await swarm.add(ANN)
    await swarm.fetch(adapter.id, ANN, is_published=lambda _, version: version == VERSION)
    assert read_published(swarm.ours, LAKE) == VERSION


async def test_strangers_may_give_their_datanets_the_same_name(swarm: Swarm, adapter: Adapter) -> None:
    """Ours is of other rows, and stays; theirs lies beside it under its id on the chain."""
    ours = make_version("lake", "1", CONTRIBUTED[:1])
    write_version(swarm.ours, ours)
    await swarm.add(ANN)
    fetched = await swarm.fetch(adapter.id, ANN)
    assert fetched.missing_versions == {}
    assert read_version(swarm.ours, "lake", "1") == ours
    assert read_published(swarm.ours, LAKE) == VERSION
