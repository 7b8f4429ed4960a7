"""The arena on the CPU: what was loaded is there, to the last number, and takes what it was said to take."""

import random
from contextlib import nullcontext
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from openledger_node.backends.cuda.arena import ALIGNED_BYTES, MAP, A, Arena
from openledger_node.backends.cuda.runs import Book
from openledger_node.backends.torch_lora.adapter_blob import AdapterBlob, Shape, Site, num_numbers, parts_of, views_of
from openledger_node.backends.torch_lora.placement import Placement
from openledger_node.backends.torch_lora.selfcheck import CONFIG
from openledger_node.engine.adapter_cache import AdapterCache
from openledger_node.engine.fit import is_out_of_memory
from openledger_node.models.decoder_config import GROUPS
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

CPU = torch.device("cpu")
MODULES = sorted(CONFIG.site_dims)


def shape(rank: int, modules: list[str] = MODULES, *, is_dora: bool = False) -> Shape:
    return tuple(Site(layer, module, rank, is_dora) for layer in range(CONFIG.num_layers) for module in modules)


def random_shape(chance: random.Random) -> Shape:
    """Any maps of any layers at any small ranks."""
    places = [(layer, module) for layer in range(CONFIG.num_layers) for module in MODULES]
    sites = chance.sample(places, chance.randint(1, len(places)))
    return tuple(sorted(Site(*place, chance.choice([1, 2, 3, 8]), chance.random() < 0.3) for place in sites))


def blob_of(shape: Shape, seed: int = 0, dtype: torch.dtype = torch.float32) -> AdapterBlob:
    torch.manual_seed(seed)
    return AdapterBlob(shape=shape, memory=torch.randn(num_numbers(shape, CONFIG)).to(dtype))


def arena_of(num_bytes: int, *, num_slots: int | None = None, dtype: torch.dtype = torch.float32) -> Arena:
    return Arena(CONFIG, Placement(CPU, dtype), num_bytes=num_bytes, num_slots=num_slots)


def read_back(arena: Arena, slot: int, shape: Shape) -> list[Tensor]:
    """The parts of an adapter as the table finds them, in the order of `parts_of`."""
    found, ranks = [], {(site.layer, site.module): site.rank for site in shape}
    for part in parts_of(shape, CONFIG):
        fields = arena.sites[slot, part.layer, list(GROUPS).index(part.group)].tolist()
        if part.module is None:
            assert fields[A + 1] == part.size[1]
            place = fields[A]
        else:
            own = fields[MAP + 4 * GROUPS[part.group].index(part.module) :]
            assert own[2] == ranks[part.layer, part.module]
            place = own[3] if part.is_scale else own[0]
        assert place * arena.memory.itemsize % ALIGNED_BYTES == 0
        size = part.size[::-1] if part.module is None else part.size
        numbers = arena.memory[place : place + int(np.prod(size))].view(size)
        found.append(numbers.T if part.module is None else numbers)
    return found


def check(arena: Arena, loaded: dict[AdapterId, AdapterBlob]) -> None:
    for adapter_id, blob in loaded.items():
        wanted = views_of(blob.memory.to(arena.memory.dtype), blob.shape, CONFIG)
        for own, right in zip(read_back(arena, arena.slot_of(adapter_id), blob.shape), wanted, strict=True):
            assert torch.equal(own, right)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_after_many_loads_and_unloads_the_numbers_are_those_of_the_adapters(dtype: torch.dtype) -> None:
    chance = random.Random(1)
    arena, moves = arena_of(60_000, num_slots=200, dtype=dtype), 0
    loaded: dict[AdapterId, AdapterBlob] = {}
    for number in range(60):
        blob = blob_of(random_shape(chance), number)
        adapter = arena.prepared(blob)
        while adapter.size_bytes > arena.free_bytes:
            leaving = chance.choice(sorted(loaded))
            arena.unload(leaving)
            del loaded[leaving]
        before = arena.sites.clone()
        arena.load(adapter_id := AdapterId(f"a{number}"), adapter)
        moves += int((arena.sites != before).any(dim=3).any(dim=2).any(dim=1).sum()) - 1
        loaded[adapter_id] = blob
        check(arena, loaded)
    assert moves > 5  # other adapters' rows changed, since runs moved


def test_a_load_without_room_changes_nothing_and_counts_as_out_of_memory() -> None:
    arena, blob = arena_of(40_000), blob_of(shape(4))
    arena.load(AdapterId("a"), blob)
    memory, sites, free_bytes = arena.memory.clone(), arena.sites.clone(), arena.free_bytes
    with pytest.raises(MemoryError, match="unload another") as caught:
        arena.load(AdapterId("b"), blob)
    assert is_out_of_memory(cast(Exception, caught.value))
    assert torch.equal(arena.memory.nan_to_num(), memory.nan_to_num())
    assert torch.equal(arena.sites, sites)
    assert (arena.free_bytes, AdapterId("b") in arena) == (free_bytes, False)
    arena.unload(AdapterId("a"))
    assert not arena.sites.any(), "an unloaded adapter leaves a row of zeros"
    with pytest.raises(AdapterRefusedError, match="not loaded"):
        arena.slot_of(AdapterId("a"))
    with pytest.raises(AdapterRefusedError, match="adapter_cache_bytes"):
        arena.load(AdapterId("larger than the arena"), blob_of(shape(16)))
    arena.load(AdapterId("b"), blob)
    check(arena, {AdapterId("b"): blob})


def test_every_load_that_the_cache_of_adapters_allows_finds_memory_and_a_slot() -> None:
    chance = random.Random(7)
    arena = arena_of(1_000_000)  # its slots run out before its memory unless small adapters count as more
    cache = AdapterCache(budget_bytes=arena.size_bytes)
    shapes = [random_shape(chance) if number % 2 else shape(2 + number) for number in range(40)]
    for _ in range(200):
        number = int(40 * chance.random() ** 2)
        if (adapter_id := AdapterId(f"a{number}")) in cache:
            cache.touch(adapter_id)
            continue
        adapter = arena.prepared(blob_of(shapes[number], number))
        for leaving in cache.plan(adapter.size_bytes, set()) or ():
            cache.remove(leaving)
            arena.unload(leaving)
        arena.load(adapter_id, adapter)
        cache.add(adapter_id, adapter.size_bytes, reload_s=0.1)
        assert cache.used_bytes == arena.size_bytes - arena.free_bytes
    assert all(adapter_id in arena for adapter_id in cache.resident)


# ---- The book of places.


def test_only_the_runs_between_the_nearest_gaps_move() -> None:
    book = Book(60)
    runs = [book.take([size])[0] for size in (20, 4, 10, 3, 2, 21)]
    for leaving in (1, 3, 5):
        book.give_back(runs[leaving])
    _, moves = book.take([24])  # gaps of 4, 3 and 21
    assert [move.run for move in moves] == runs[4]


def test_an_adapter_lies_in_one_run_where_a_gap_holds_it_whole() -> None:
    book = Book(60)
    first, _ = book.take([10, 10])
    book.take([5])
    book.give_back(first)
    (run,), moves = book.take([7, 8])
    assert (run.start, run.size, moves) == (0, 15, [])


# ---- The order of copies and steps on a card, by what its streams are told.


class FakeStream:
    """A stream that notes what it waits for and the events after its work."""

    def __init__(self, name: str, told: list[str]) -> None:
        self.name, self.told, self.device = name, told, CPU
        self.num_events = 0

    def wait_event(self, event: str) -> None:
        self.told.append(f"{self.name} wait for {event}")

    def record_event(self) -> str:
        self.num_events += 1
        self.told.append(f"{self.name}:{self.num_events}")
        return self.told[-1]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    steps = FakeStream("steps", found)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: steps)
    return found


def arena_beside_steps(told: list[str], num_bytes: int) -> Arena:
    arena = arena_of(num_bytes, num_slots=100)
    arena._lane._stream = FakeStream("copies", told)
    return arena


def drain(told: list[str]) -> list[str]:
    found = list(told)
    told.clear()
    return found


def test_a_step_waits_for_the_copy_of_its_own_adapter_once_and_for_no_other(told: list[str]) -> None:
    arena = arena_beside_steps(told, 100_000)
    for name in ("a", "b"):
        arena.load(AdapterId(name), blob_of(shape(1)))
    assert drain(told) == ["copies:1", "copies:2"]
    for _ in range(2):
        arena.slot_of(AdapterId("a"))
    assert drain(told) == ["steps wait for copies:1"]


def test_a_copy_waits_for_the_steps_that_read_what_lay_there(told: list[str]) -> None:
    arena = arena_beside_steps(told, 100_000)
    arena.load(AdapterId("a"), blob_of(shape(1)))
    arena.unload(AdapterId("a"))
    arena.load(AdapterId("b"), blob_of(shape(1)))
    assert told == ["copies:1", "steps:1", "copies wait for steps:1", "copies:2"]


def test_runs_move_after_all_copies_and_before_the_next(told: list[str]) -> None:
    one = (Site(0, "o_proj", 4, False),)
    size_bytes = arena_of(100_000, num_slots=100).prepared(blob_of(one)).size_bytes
    arena = arena_beside_steps(told, 4 * size_bytes)
    for name in ("a", "b", "c", "d"):
        arena.load(AdapterId(name), blob_of(one))
    for name in ("a", "c"):
        arena.unload(AdapterId(name))
    drain(told)
    arena.load(AdapterId("wide"), blob_of((Site(0, "k_proj", 10, False),)))  # its A fits neither gap
    assert told == ["steps wait for copies:4", "steps:3", "copies wait for steps:3", "copies:5"]
