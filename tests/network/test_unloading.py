"""Sellers that give their memory back: one for want of requests, which sells on; one to its owner, in the middle."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.faulty_plug import FaultyPlug
from support.processes.network import FAKE, RunningNetwork, answer_of, ask, status_of, tell
from support.processes.nodes import is_alive, wait_for

from openledger_node.demo.processes import OperatorHome, closing_all

pytestmark = pytest.mark.process

UNLOAD_AFTER_S = "2"
SLOW_S = 6.0
assert float(FAKE["OPENLEDGER_PAYER_STALL_TIMEOUT_S"]) < SLOW_S
FREED_S = 10.0  # other programs run beside the tests


@pytest.fixture(scope="module")
def plug(tmp_path_factory: pytest.TempPathFactory) -> FaultyPlug:
    return FaultyPlug(tmp_path_factory.mktemp("plug"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, plug: FaultyPlug) -> Iterator[RunningNetwork]:
    settings = {
        **FAKE,
        **plug.environment,
        "OPENLEDGER_INFERENCE_BACKEND": "faulty",
        "OPENLEDGER_INFERENCE_UNLOAD_AFTER_S": UNLOAD_AFTER_S,
    }
    with closing_all() as opened:
        found = RunningNetwork(root=tmp_path_factory.mktemp("running"), opened=opened, settings=settings)
        found.begin()
        yield found


def test_an_unloaded_node_wins_a_job_and_loads_again_to_serve_it(running: RunningNetwork, plug: FaultyPlug) -> None:
    """Its payer waits longer than for a node that says nothing: as long as the bid has promised."""
    tell(running.b, "/pause")
    plug.load_slowly(SLOW_S)
    wait_for(lambda: in_state(running.a, "unloaded"))
    answer_of(running.a, 10)  # so that it knows how long a load takes now
    unloaded = wait_for(lambda: without_process(running.a))
    assert (unloaded["state"], unloaded["engine"]["process_id"]) == ("idle", None)
    wallet = unloaded["address"]
    (peer,) = (each for each in ask(running.r, "peers")["peers"] if each["wallet"] == wallet)
    assert peer["serves"], "it is still advertised as able to serve"
    with running.asking(300, 300) as replies:
        loaded = wait_for(lambda: in_state(running.a, "ready"))
    assert all(reply.is_whole and running.whole.startswith(reply.text) for reply in replies), replies
    assert loaded["engine"]["restarts"] == 0
    assert loaded["engine"]["load_s"] > SLOW_S
    plug.mend()
    again = wait_for(lambda: without_process(running.a))
    assert again["engine"]["unloads"] == unloaded["engine"]["unloads"] + 1, "both requests started one reload"
    tell(running.b, "/resume")
    wait_for(lambda: in_state(running.b, "ready"))
    running.wait_until_among_others(running.r)


def test_a_seller_that_its_owner_pauses_in_the_middle_gives_its_memory_back_and_another_finishes(
    running: RunningNetwork,
) -> None:
    with running.asking(5_000) as (reply,):
        seller = wait_for(lambda: next((node for node in running.sellers if is_serving(node)), None))
        engine = status_of(seller)["engine"]["process_id"]
        tell(seller, "/pause")
        wait_for(lambda: not is_alive(engine), within_s=FREED_S)
        paused = wait_for(lambda: status if (status := status_of(seller))["engine"]["process_id"] is None else None)
    assert paused["state"] == "paused"
    assert reply.is_whole, reply
    assert running.whole.startswith(reply.text), "nothing is missing where the other went on"
    tell(seller, "/resume")
    wait_for(lambda: in_state(seller, "ready"))


def in_state(node: OperatorHome, state: str) -> dict[str, Any] | None:
    status = status_of(node)
    return status if status["engine"]["state"] == state else None


def without_process(node: OperatorHome) -> dict[str, Any] | None:
    """Its status once it has unloaded, and the process has ended."""
    status = in_state(node, "unloaded")
    return status if status and status["engine"]["process_id"] is None else None


def is_serving(node: OperatorHome) -> bool:
    return bool(status_of(node)["requests"]["running"])
