"""Simulation of one scenario from start to end, and its figures."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import trio

from openledger_protocol.errors import ProtocolError

from .node import SimNode
from .scenario import Result, Scenario
from .seeded import run_seeded
from .world import World, simulated_parts

LOOK_S, STEADY_S = 1.0, 20.0
CHURN_S = 20.0
NEWCOMER_S_MAX, POINT_S_MAX, HEAL_S_MAX = 90.0, 120.0, 700.0
"""The longest waits; a time that is not reached is None."""

KNOWN_ENOUGH = 0.999
CALL_S_MAX = 60.0


def simulate(scenario: Scenario) -> Result:
    """Simulate a network. The same scenario gives the same result, in processes with the same PYTHONHASHSEED."""
    with TemporaryDirectory() as folder, simulated_parts(scenario):
        return run_seeded(scenario.seed, _simulate, scenario, Path(folder))


async def _simulate(scenario: Scenario, folder: Path) -> Result:
    result = Result()
    async with trio.open_nursery() as nursery:
        world = World(scenario, folder, nursery)
        await world.start_points()
        await _start_all(world)
        await trio.sleep(scenario.settle_s)
        result.share_known = world.share_known()
        await _count_traffic(world, result)
        await _call_all(world, result)
        if scenario.part_s:
            result.healed_s = await _part_and_heal(world)
        result.point_lost_s = await _lose_point(world)
        await _add_newcomer(world, result)
        result.share_known_after_churn = world.share_known()
        nursery.cancel_scope.cancel()
    return result


async def _start_all(world: World) -> None:
    """Start all nodes in a drawn order."""
    nodes = [*world.honest, *(node for each in world.hostile.values() for node in each)]
    world.random.shuffle(nodes)
    for node in nodes:
        await trio.sleep(world.scenario.start_s / len(nodes))
        world.start(node)


# ---- traffic


async def _count_traffic(world: World, result: Result) -> None:
    """Count the traffic of honest nodes while nothing happens."""
    ids = [node.peer_id for node in world.running()]

    def bytes_per_s(name: str) -> float:
        return sum(getattr(world.network.traffic[each], name) for each in ids) / (len(ids) * STEADY_S)

    sent, received = bytes_per_s("sent_bytes"), bytes_per_s("received_bytes")
    await trio.sleep(STEADY_S)
    result.sent_bytes_per_s = bytes_per_s("sent_bytes") - sent
    result.received_bytes_per_s = bytes_per_s("received_bytes") - received


# ---- calls


async def _call_all(world: World, result: Result) -> None:
    """Let each node ask, while some crash and come back."""
    scenario = world.scenario
    running = world.running()
    askers = world.random.sample(running, len(running))
    churning = world.random.sample(running, round(len(world.honest) * scenario.share_churn))
    winners: list[str] = []
    async with trio.open_nursery() as nursery:
        for node in churning:
            nursery.start_soon(_churn, world, node, world.random.uniform(0, scenario.calls_s))
        for number, node in enumerate(askers):
            if node not in churning:
                wait_s = world.random.uniform(0, scenario.calls_s)
                nursery.start_soon(_call, node, f"call {number}", wait_s, winners, result)
    result.share_served = len(winners) / max(1, result.num_calls)
    dishonest = {node.peer_id for kind in ("liar", "cheater", "sybil") for node in world.hostile.get(kind, ())}
    result.share_paid_hostile = sum(each in dishonest for each in winners) / max(1, len(winners))


async def _call(node: SimNode, name: str, wait_s: float, winners: list[str], result: Result) -> None:
    await trio.sleep(wait_s)
    result.num_calls += 1
    try:
        with trio.fail_after(CALL_S_MAX):
            winners.append(await node.ask(f"{node.name} {name}"))
    except (ProtocolError, trio.TooSlowError) as error:
        result.why_not_served.append(f"{node.name}: {str(error) or 'no answer in time'}"[:400])


async def _churn(world: World, node: SimNode, wait_s: float) -> None:
    await trio.sleep(wait_s)
    world.crash(node)
    await trio.sleep(CHURN_S)
    world.start(node)


# ---- faults


async def _part_and_heal(world: World) -> float | None:
    """Cut off a third of all nodes for a while, in which one of each side starts anew; and time what comes after."""
    peers = list(world.network.peers)
    apart = world.random.sample(peers, len(peers) // 3)
    world.network.part(apart)
    inside = [node for node in world.running() if node.peer_id in apart]
    outside = [node for node in world.running() if node.peer_id not in apart]
    for node in (inside[0], outside[0]):
        world.crash(node)
        await trio.sleep(1)
        world.start(node)
    await trio.sleep(world.scenario.part_s)
    world.network.heal()
    return await _time_until(lambda: world.share_known() >= KNOWN_ENOUGH, HEAL_S_MAX)


async def _lose_point(world: World) -> float | None:
    """End the bootstrap node with the most neighbours for good, and time until those have others.

    A node that starts then must be heard by all.
    """
    linked = {name: world.neighbours_of(name) for name in world.points}
    lost = max(world.points, key=lambda name: len(linked[name]))
    orphans = [node for node in world.running() if node.peer_id in linked[lost]]
    world.lose_point(lost)
    world.points.remove(lost)
    publisher = orphans[0]
    world.crash(publisher)
    await trio.sleep(0.1)
    world.start(publisher)

    def is_healed() -> bool:
        running = set(world.running())
        are_held = all(world.num_points_of(node) >= 2 for node in orphans if node in running)
        return are_held and world.share_heard(publisher) >= KNOWN_ENOUGH

    return await _time_until(is_healed, POINT_S_MAX)


async def _add_newcomer(world: World, result: Result) -> None:
    """Start one more node, and time until it knows all."""
    newcomer = world.open_node("newcomer", len(world.honest))
    world.start(newcomer)
    result.newcomer_s = await _time_until(lambda: world.share_known([newcomer]) >= KNOWN_ENOUGH, NEWCOMER_S_MAX)


async def _time_until(is_reached: Callable[[], bool], longest_s: float) -> float | None:
    began_s = trio.current_time()
    with trio.move_on_after(longest_s):
        while not is_reached():  # noqa: ASYNC110 - nodes set no event
            await trio.sleep(LOOK_S)
        return trio.current_time() - began_s
    return None
