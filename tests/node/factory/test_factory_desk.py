"""The factory's desk: orders read, rows gathered, and one training at a time whoever works on it."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.chain_world.deployed import deployed_chain

from openledger_node.config import Config, load_config
from openledger_node.datanets.rows import write_rows
from openledger_node.datanets.sample import SAMPLE_ID
from openledger_node.errors import ConfigError, NodeError
from openledger_node.factory.runs import Runs
from openledger_node.factory.service import TrainingService
from openledger_node.factory.training_run import moved
from openledger_node.home import Home
from openledger_node.keystore import WALLET, account_file, ensure_development_wallet
from openledger_node.models.library import list_adapters
from openledger_node.network_file import embed_network
from openledger_protocol.datanet import Row, datanet_id
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import ZERO_ADDRESS, Address

ORDER = {"name": "lake", "sample": True, "base": "fake", "trainer": "fake", "evaluate": 4}


@pytest.fixture
def config(home: Home) -> Config:
    return load_config(home.config_file)[0]


@pytest.fixture
def desk(home: Home, config: Config) -> TrainingService:
    return TrainingService(home, config)


def wait_for_end(desk: TrainingService) -> dict[str, Any]:
    desk._thread.join(60)
    return desk.run()


@pytest.mark.process
def test_a_training_is_begun_followed_and_shown(desk: TrainingService) -> None:
    assert desk.show()["run"] is None
    begun = desk.train(ORDER)
    assert (begun["number"], begun["rows"], begun["held_out"], begun["dropped"]) == (1, 90, 30, 0)
    ended = wait_for_end(desk)
    assert (ended["state"], ended["who"], ended["is_cut_off"]) == ("done", None, False)
    assert len(ended["history"]) == 73
    assert ended["evaluation"]["rows"] == 4
    shown = desk.show()
    assert shown["run"] == ended
    assert [run["number"] for run in shown["runs"]] == [1]
    assert shown["is_training"] is False
    json.dumps(shown)


def test_rows_that_are_too_long_are_left_out_and_counted(desk: TrainingService, tmp_path: Path) -> None:
    rows = [Row(prompt=f"{n}?", completion="x" * (400 if n < 3 else 20), contributor="ada") for n in range(20)]
    write_rows(tmp_path / "rows.jsonl", rows)
    order = {"rows": str(tmp_path / "rows.jsonl"), "base": "fake", "tokens_max": 100}
    found = desk.preview(order, 0)
    assert (found["dropped"], found["used"] + found["held_out"]) == (3, 17)
    assert found["tokens"]["longest"] <= 100
    with pytest.raises(ConfigError, match=r"20 of 20 rows have more than 16 tokens and are left out.*--tokens-max"):
        desk.preview({**order, "tokens_max": 16}, 0)


@pytest.mark.parametrize(
    ("wanted", "error", "says"),
    [
        ({"speed": 1}, MalformedError, "no field 'speed'"),
        ({"rank": "8"}, MalformedError, "rank is"),
        ({"name": "a:b"}, MalformedError, "name"),
        ({"preset": "huge"}, ConfigError, "balanced"),
        ({"sample": False}, ConfigError, "give exactly one of"),
        ({"epochs": 0}, ConfigError, "epochs"),
    ],
)
def test_an_order_that_is_none_trains_nothing(
    desk: TrainingService, home: Home, wanted: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        desk.train({**ORDER, **wanted})
    assert Runs(home).all() == []


def test_a_training_of_another_process_is_seen_and_told_what_is_wanted(
    desk: TrainingService, home: Home, config: Config
) -> None:
    other = TrainingService(home, config)
    number = other.begin(ORDER).number
    assert desk.run()["is_cut_off"], "nobody works on it yet"
    with pytest.raises(ConfigError, match="is waiting"):
        desk.train(ORDER)
    with Runs(home).hold(number):
        assert desk.run()["who"] == "elsewhere"
        assert desk.show()["is_training"]
        desk.stop(keep=False)
    assert Runs(home).wished(number) == "stop"


@pytest.mark.process
def test_a_training_that_nobody_works_on_is_gone_on_with_stopped_as_was_wanted_or_forgotten(
    desk: TrainingService, home: Home, config: Config
) -> None:
    number = desk.begin(ORDER).number
    with Runs(home).hold(number):
        desk.stop(keep=False)  # the process that held it did not live to obey
    following = TrainingService(home, config)
    assert following.go_on() == number
    assert wait_for_end(following)["state"] == "stopped"
    assert desk.go_on() is None
    desk.begin({**ORDER, "name": "pond"})
    assert desk.stop(keep=False)["state"] == "stopped"
    with pytest.raises(ConfigError, match="only one that is"):
        desk.stop(keep=False)


def test_a_paused_training_is_stopped_though_a_trial_runs(desk: TrainingService, home: Home) -> None:
    """The order was left for the trial's process, which trains nothing, and the next resume deleted it."""
    number = desk.begin(ORDER).number
    runs = Runs(home)
    runs.write(moved(moved(runs.find(number), "begin", now_ns=1), "pause", now_ns=2))
    with runs.hold():
        assert desk.run()["who"] is None
        with pytest.raises(ConfigError, match="or a trial of"):
            desk.resume()
        with pytest.raises(ConfigError, match="or a trial of"):
            desk.stop(keep=True)
        assert desk.stop(keep=False)["state"] == "stopped"
    with pytest.raises(ConfigError):
        desk.resume()


@pytest.mark.process
def test_a_node_that_ends_lets_the_training_write_where_it_is(
    desk: TrainingService, home: Home, config: Config
) -> None:
    desk.train({**ORDER, "epochs": 5_000_000})
    while not desk.run()["history"]:
        pass
    desk.close()
    left = TrainingService(home, config)
    assert left.run()["is_cut_off"]
    assert left.run()["state"] == "training"
    left.stop(keep=True)
    ended = wait_for_end(left)
    assert (ended["state"], ended["restarts"][0]["step"] > 0) == ("done", True)
    assert 0 < ended["step"] < ended["steps"]


def test_only_a_training_that_left_an_adapter_is_evaluated_or_published(desk: TrainingService) -> None:
    desk.begin(ORDER)
    desk.stop(keep=False)
    with pytest.raises(ConfigError, match="has no adapter to evaluate"):
        desk.evaluate(1, None)
    with pytest.raises(NodeError, match="no adapter to publish"):
        desk.adapter_of(1)
    with pytest.raises(NodeError, match="no training has number 9"):
        desk.run(9)


# ---- whose adapter it is


@pytest.mark.process
@pytest.mark.parametrize("is_damaged", [False, True])
def test_an_adapter_belongs_to_the_wallet_of_the_network_and_with_a_damaged_one_to_nobody_yet(
    desk: TrainingService, home: Home, is_damaged: bool
) -> None:
    """A training must not fail at its end because of a wallet: publishing names the owner."""
    network = deployed_chain().network
    embed_network(home, network)
    owner: Address | None = ensure_development_wallet(home, network.network).address
    if is_damaged:
        account_file(home.network_keys(network.network), WALLET).write_text("{}")
        owner = None
    desk.train(ORDER)
    wait_for_end(desk)
    (adapter,) = list_adapters(home)
    (datanet,) = adapter.manifest.datanets or ()
    assert (adapter.manifest.owner, datanet.id) == (owner, datanet_id(owner or ZERO_ADDRESS, SAMPLE_ID))
