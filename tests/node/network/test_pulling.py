"""Versions that come with an adapter: who owns the rows is the chain's word, and never a peer's."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.contributors import ADA, CONTRIBUTED, key_of
from support.market_world.adapter_liars import entry_of
from support.market_world.swarm import ANN, BOB, Swarm, open_swarm, share_adapter

from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.store import OwnDatanets
from openledger_node.datanets.version import make_version, read_version, version_file, write_version
from openledger_node.models.adapters import Adapter
from openledger_node.p2p.adapter_fetch import FetchLimits
from openledger_protocol.codec import to_plain
from openledger_protocol.wire.transfer import ChunkMessage, GetChunk, TransferManifest, TransferMessage

VERSION = "datanets/lake/1.json"
THIEF = key_of("thief").address


@pytest.fixture
async def swarm(tmp_path: Path) -> AsyncIterator[Swarm]:
    async with open_swarm(tmp_path) as opened:
        yield opened


@pytest.fixture
def adapter(swarm: Swarm) -> Adapter:
    return share_adapter(swarm.shared)


def forged_version(question: TransferMessage, honest: TransferMessage) -> object:
    data = json.dumps(to_plain(make_version("lake", "1", CONTRIBUTED, {"ben": THIEF}))).encode()
    if isinstance(honest, TransferManifest):
        return replace(honest, versions=(entry_of(VERSION, data),))
    if isinstance(question, GetChunk) and isinstance(honest, ChunkMessage) and question.path == VERSION:
        return replace(honest, data=data)
    return honest


async def test_a_forged_version_is_left_for_a_true_one(swarm: Swarm, adapter: Adapter) -> None:
    await swarm.add(ANN, forged_version)
    await swarm.add(BOB)
    true = read_version(swarm.shared, "lake", "1")
    fetched = await swarm.fetch(adapter.id, ANN, BOB, is_published=lambda version: version == true)
    assert read_version(swarm.ours, "lake", "1") == true
    assert (set(fetched.dropped), fetched.missing_versions) == ({ANN}, {})


async def test_a_version_that_the_chain_does_not_know_is_not_written(swarm: Swarm, adapter: Adapter) -> None:
    await swarm.add(ANN)
    fetched = await swarm.fetch(adapter.id, ANN, is_published=lambda _: False)
    assert not version_file(swarm.ours, "lake", "1").exists()
    assert "was never published on this network" in fetched.missing_versions[VERSION]
    assert fetched.adapter.id == adapter.id


async def test_a_version_too_large_is_not_taken(swarm: Swarm, adapter: Adapter) -> None:
    await swarm.add(ANN)
    fetched = await swarm.fetch(adapter.id, ANN, limits=FetchLimits(version_bytes_max=9))
    assert "has more than 9 bytes" in fetched.missing_versions[VERSION]


async def test_a_version_of_a_peers_that_has_none_is_missing(swarm: Swarm, adapter: Adapter) -> None:
    version_file(swarm.shared, "lake", "1").unlink()
    await swarm.add(ANN)
    assert (await swarm.fetch(adapter.id, ANN)).missing_versions == {VERSION: "no peer has it"}


async def test_a_version_here_that_nobody_published_gives_way_to_the_chains(swarm: Swarm, adapter: Adapter) -> None:
    write_version(swarm.ours, make_version("lake", "1", CONTRIBUTED))  # as `factory train --rows` writes it
    true = read_version(swarm.shared, "lake", "1")
    await swarm.add(ANN)
    await swarm.fetch(adapter.id, ANN, is_published=lambda version: version == true)
    assert read_version(swarm.ours, "lake", "1") == true


@pytest.mark.parametrize("is_own", [True, False])
async def test_a_version_of_the_same_name_that_is_ours_stays(swarm: Swarm, adapter: Adapter, is_own: bool) -> None:
    ours = make_version("lake", "1", CONTRIBUTED if is_own else CONTRIBUTED[:1])
    write_version(swarm.ours, ours)
    if is_own:
        OwnDatanets(swarm.ours).create(new_datanet("lake", licence="CC0-1.0", treasury=ADA, owner_ppm=0))
    await swarm.add(ANN)
    fetched = await swarm.fetch(adapter.id, ANN, is_published=lambda version: version != ours)
    assert read_version(swarm.ours, "lake", "1") == ours
    assert fetched.missing_versions == {VERSION: "another version 1 of a Datanet lake is here"}
