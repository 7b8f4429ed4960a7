"""The network's values as defaults of settings: what is taken, what is left out, and what the operator has set."""

import tomllib
from dataclasses import replace
from typing import Any

import pytest
from support.chain_world.voter import Voters

from openledger_node.chain.dev.constants import DEVELOPMENT_PARAMS
from openledger_node.config import Config, load_config
from openledger_node.home import Home
from openledger_node.network.service import DefaultsFollower
from openledger_node.network_defaults import (
    SOURCE,
    NetworkDefaults,
    apply_defaults,
    defaults_of,
    keep_defaults,
    load_network_config,
    read_defaults,
)
from openledger_node.network_file import Network, join_network
from openledger_node.operator.prices import Prices
from openledger_protocol.constants import NEWCOMER_CHUNK_MAX
from openledger_protocol.primitives import Wei

PRICE = 10**16
"""A guide price, two and a half times the shipped one."""

PARAMS = replace(
    DEVELOPMENT_PARAMS,
    guide_price_wei=Wei(PRICE),
    credit_tokens_max=16,
    least_context=65_536,
    min_deposit_wei=Wei(2 * 10**18),
)


def settings(home: Home) -> tuple[Config, dict[str, str]]:
    config, origins = apply_defaults(*load_config(home.config_file, environment={}), defaults_of(PARAMS, 7))
    return config, {origin.key: origin.source for origin in origins}


def test_the_shipped_values_and_those_of_a_new_network_agree() -> None:
    config = Config()
    values = defaults_of(DEVELOPMENT_PARAMS, 1).values
    long_chunks = defaults_of(replace(PARAMS, credit_tokens_max=64), 7).values
    assert long_chunks["market.credit_tokens_max"] == NEWCOMER_CHUNK_MAX, "newcomers can still buy"
    assert values == {
        "market.price_in_wei": config.market.price_in_wei,
        "market.price_out_wei": config.market.price_out_wei,
        "market.credit_tokens_max": config.market.credit_tokens_max,
        "payer.deposit_wei": config.payer.deposit_wei,
    }


def test_a_setting_that_is_not_set_takes_the_networks_value(home: Home) -> None:
    config, sources = settings(home)
    assert (config.market.price_in_wei, config.market.price_out_wei) == (PRICE // 4, PRICE)
    assert (config.market.credit_tokens_max, config.inference.context_max) == (16, 65_536)
    assert config.payer.deposit_wei == 2 * 10**18
    assert sources["market.price_out_wei"] == SOURCE
    assert sources["market.load_surcharge_percent"] == "default"


def test_a_network_that_asks_for_a_usual_context_makes_no_node_serve_a_shorter_one(home: Home) -> None:
    """A file of defaults that names a short context must not shorten one that is chosen by itself."""
    assert "inference.context_max" not in defaults_of(replace(PARAMS, least_context=32_768), 7).values
    keep_defaults(home, "development-1a2b3c4d", NetworkDefaults(epoch=1, values={"inference.context_max": 2_048}))
    kept: Any = read_defaults(home, "development-1a2b3c4d")
    assert kept.values == {}


def test_a_setting_that_is_set_overrides_the_network_even_at_the_shipped_value(home: Home) -> None:
    home.config_file.write_text(f"[market]\nprice_out_wei = {Config().market.price_out_wei}\n")
    config, sources = settings(home)
    assert config.market.price_out_wei == Config().market.price_out_wei
    assert (config.market.price_in_wei, sources["market.price_out_wei"]) == (PRICE // 4, "node.toml")


@pytest.mark.parametrize(
    ("changes", "left_out"),
    [
        ({"guide_price_wei": 10**21}, {"market.price_in_wei", "market.price_out_wei"}),
        ({"guide_price_wei": 1}, {"market.price_in_wei", "market.price_out_wei"}),
        ({"credit_tokens_max": 2**32 - 1}, {"market.credit_tokens_max"}),
        ({"least_context": 1 << 20}, {"inference.context_max"}),
        ({"min_deposit_wei": 10**21}, {"payer.deposit_wei"}),
    ],
)
def test_a_value_that_a_lying_endpoint_would_choose_is_left_out(changes: dict[str, Any], left_out: set[str]) -> None:
    found = defaults_of(replace(PARAMS, **changes), 7)
    assert defaults_of(PARAMS, 7).values.keys() - found.values.keys() == left_out
    assert len(found.doubts) == len(left_out)
    assert all("is not taken: set it yourself if it is right" in doubt for doubt in found.doubts)
    name = min(left_out).replace(".", "] ", 1)
    assert any(f"[{name}" in doubt for doubt in found.doubts)


def test_kept_defaults_are_checked_again_when_they_are_read(home: Home) -> None:
    keep_defaults(home, "lake", defaults_of(PARAMS, 7))
    file = home.network("lake") / "defaults.json"
    file.write_text(file.read_text().replace(str(PRICE), str(10**30)))
    found: Any = read_defaults(home, "lake")
    assert "market.price_out_wei" not in found.values
    assert found.values["market.credit_tokens_max"] == 16
    for damaged in (b"[]", b"\xff"):
        file.write_bytes(damaged)
        assert read_defaults(home, "lake") is None


def joined(home: Home, network: Network) -> Home:
    join_network(home, network)
    return home


def test_prices_follow_a_vote_from_its_epoch_on_and_are_kept_for_the_next_start(home: Home, voters: Voters) -> None:
    world, market = voters.world, Config().market
    told: list[str] = []
    follower = DefaultsFollower(joined(home, world.chain.network), world.node, told.append)
    assert follower.step(market) is None
    voters.do("gov propose", values={"guidePrice": "0.01"})
    voters.carry()
    world.node.step()
    assert follower.step(market) is None, "the vote is carried, but its epoch has not come"
    world.wait(2 * world.node.windows.epoch_s)
    world.node.step()
    followed: Any = follower.step(market)
    assert (followed.price_in_wei, followed.price_out_wei) == (PRICE // 4, PRICE)
    (line,) = told
    assert "0.01 OPEN for 1,000 answer tokens; `openledger-node price set` chooses others" in line
    assert follower.step(followed) is None, "once an epoch"
    config, origins = load_network_config(home)
    assert config.market.price_out_wei == PRICE
    assert {each.key: each.source for each in origins}["market.price_out_wei"] == SOURCE


def test_an_endpoint_that_lies_changes_no_price_and_is_noticed_once(
    home: Home, voters: Voters, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world, market = voters.world, Config().market
    follower = DefaultsFollower(joined(home, world.chain.network), world.node, print)
    lie = replace(DEVELOPMENT_PARAMS, guide_price_wei=Wei(10**21), credit_tokens_max=2**32 - 1)
    monkeypatch.setattr(world.node.deployment, "params", lambda _: lie)
    for _ in range(3):
        assert follower.step(market) is None
        world.wait(world.node.windows.epoch_s)
        world.node.step()
    said = [record.message for record in caplog.records if "is not taken" in record.message]
    assert len(said) == 3, "both prices and the chunk, in the first epoch only"
    assert load_network_config(home)[0].market == market


async def test_a_price_that_is_set_no_longer_follows(home: Home, voters: Voters) -> None:
    world = voters.world
    joined(home, world.chain.network)
    keep_defaults(home, world.chain.network.network, defaults_of(PARAMS, 7))
    config, _ = load_network_config(home)
    prices = Prices(home, config.market)
    assert prices.show()["sources"]["price_out_wei"] == SOURCE
    shown = await prices.set({"price_out_wei": str(PRICE)})
    assert shown["sources"] == {"price_in_wei": SOURCE, "price_out_wei": "node.toml"}
    assert tomllib.loads(home.config_file.read_text()) == {"market": {"price_out_wei": PRICE}}
    follower = DefaultsFollower(home, world.node, print)
    followed: Any = follower.step(config.market)
    assert (followed.price_in_wei, followed.price_out_wei) == (10**15, PRICE), "only the other one goes back"
