"""Bars through the node's own engine process, scheduler and sampler included: cold loads, traffic, a neighbour."""

import time
from functools import partial

import trio
from bars import Bar, bar
from field import Setting
from room import Engines, Room, wait_until_calm
from work import spread

from openledger_node.engine.engine import Engine
from openledger_node.engine.stopwatch import run_engine
from openledger_node.machine import resident_bytes

FEW_CACHED = 1.5
"""Room for one adapter of any rank, so that adapters used in turns are always evicted."""


def measure_engines(setting: Setting, others_max: float) -> Engines:
    """Run a first engine with room for few adapters, and a second that finds the packed files of the first."""
    found = Engines()
    for cached, visit in ((FEW_CACHED, visit_first), (setting.shape.cached, visit_second)):
        wait_until_calm(setting)
        room = Room(setting, found, others_max, cached)
        room.began_s = time.monotonic()
        run_engine(room.options, partial(visit, room))
    wait_until_calm(setting)
    small, roomy = (
        Room(setting, found, others_max, many) for many in (setting.shape.cached, most_registered(setting))
    )
    run_engine(small.options, partial(visit_pair, small, roomy))
    return found


def most_registered(setting: Setting) -> int:
    return max(setting.shape.registered)


async def visit_first(room: "Room", engine: Engine) -> None:
    """Cold loads while few adapters are registered, which still do not all fit."""
    room.enter(engine)
    room.note_start()
    few = room.of_one_rank(room.setting.sources)
    await room.touch(few)
    await room.gather({"lone": partial(room.lone, [None] * len(few)), "cold few": partial(room.lone, few)})


async def visit_second(room: "Room", engine: Engine) -> None:
    """All other cases: traffic over many adapters, a cold batch, a neighbour, and cold loads among many."""
    room.enter(engine)
    room.note_start()
    shape, setting = room.setting.shape, room.setting
    for _ in range(2):
        await room.batch([None] * shape.batch)  # every block of the KV cache has been written to
    before = resident_bytes(room.process_id) or 0
    counts = sorted(shape.registered)
    await room.gather({f"registered {many}": partial(room.traffic, many) for many in counts})
    room.found.memory = await room.memory(before)
    every = spread(setting.sources, shape.batch, shape.batch)
    await room.touch([*room.pool, *(source for source in every if source)])
    await room.gather(
        {
            "base": partial(room.batch, [None] * shape.batch),
            "warm": partial(room.warm, every),
            "neighbour": partial(room.beside_neighbour, every),
            "cold": room.all_cold,
            "cold many": room.lone_cold,
            "lone many": partial(room.lone, [None] * len(room.of_one_rank(setting.sources))),
        }
    )


async def visit_pair(small: "Room", roomy: "Room", engine: Engine) -> None:
    """The same traffic over all adapters on two engines, in turns: one caches a few of them, the other caches all."""
    small.enter(engine)
    other = Engine(roomy.options)
    async with trio.open_nursery() as nursery:
        await nursery.start(other.run)
        roomy.enter(other)
        trace = small.draw(most_registered(small.setting))
        for room in (roomy, small):
            await room.touch(list({source.id: source for source in trace}.values()))  # their probes are done
        await small.gather({"trace few": partial(small.replay, trace), "trace all": partial(roomy.replay, trace)})
        nursery.cancel_scope.cancel()


def engine_bars(setting: Setting, found: Engines) -> list[Bar]:
    """The bars of the engine process."""
    memory, failed = (
        found.memory,
        [why for s in found.samples.values() for one in s.kept for why in one.get("failures", ())],
    )
    return [
        over("ttft_cold_over_base", found, ("cold", "base"), "ttft_p95_s", 2.5, 1.7, better="lower"),
        growth_bar(found),
        bar(
            "adapter_ram_over_budget",
            (memory["rss_after_bytes"] - memory["rss_before_bytes"]) / memory["budget_bytes"],
            "ratio",
            1.15,
            better="lower",
        ),
        over("trace_64_over_all", found, ("trace few", "trace all"), "tokens_per_s", 0.9, 0.95, better="higher"),
        bar("zipf_failures", len(failed), "requests", 0, 0, better="lower", why="; ".join(sorted(set(failed))[:2])),
        loss_bar(found),
        stall_bar(found),
    ]


def over(
    id: str, found: Engines, names: tuple[str, str], field: str, goal: float, stretch: float, *, better: str
) -> Bar:
    one, other = (found.median(name, field) for name in names)
    value = one / other if one and other else None
    return bar(id, value, "ratio", goal, stretch, better=better, why=found.why(*names))


def growth_bar(found: Engines) -> Bar:
    """Ratio of the time that a cold adapter adds to a lone first token, among many adapters and among few.

    Each is compared with a lone token of its own engine, because the one of many has a larger working set.
    """
    names = ("cold many", "lone many", "cold few", "lone")
    many, beside_many, few, beside_few = (found.median(name, "first_s") for name in names)
    measured = many and beside_many and few and beside_few and few > beside_few
    value = (many - beside_many) / (few - beside_few) if measured else None  # type: ignore[operator]
    return bar("cold_load_growth", value, "ratio", 1.2, 1.05, better="lower", why=found.why(*names))


def loss_bar(found: Engines) -> Bar:
    one, other = (found.median(name, "tokens_per_s") for name in ("neighbour", "warm"))
    value = 100 * (1 - one / other) if one and other else None
    return bar("neighbour_loss", value, "percent", 60, None, better="lower", why=found.why("neighbour", "warm"))


def stall_bar(found: Engines) -> Bar:
    """Ratio of the longest wait for a token with a neighbour and without one, when it is for others' prompts."""
    longest, alone = found.median("neighbour", "longest_gap_s"), found.median("warm", "longest_gap_s")
    value = longest / alone if longest and alone else None
    return bar("neighbour_longest_gap", value, "ratio", 10, 5, better="lower", why=found.why("neighbour", "warm"))
