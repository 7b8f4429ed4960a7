"""`adapters` on a home where no node runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from node.cli.verbs import Run
from support.commands import run_command
from support.fake_hub import fake_hub
from support.peft_folders import D_OUT, pair, write_adapter
from support.processes.nodes import node_environment
from support.rows import block_of, event_of

from openledger_node.home import Home
from openledger_node.ledger.ledger import open_ledger
from openledger_node.models.adapters import Adapter, add_adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_node.models.library import list_adapters
from openledger_node.models.pins import read_pins
from openledger_node.text import rfc3339
from openledger_protocol.constants import LOCAL_NETWORK
from openledger_protocol.primitives import ZERO_ADDRESS

FREE_AT_S = 4_000_000_000


def register(
    home: Home, adapter: Adapter, *, bond_wei: int, is_retired: bool = False, free_at_s: int = FREE_AT_S
) -> None:
    """Have the ledger read a block in which the adapter was published, and perhaps retired."""
    told: dict[str, dict[str, Any]] = {
        "AdapterRegistered": {"owner": ZERO_ADDRESS, "adapter": {"bond": bond_wei}},
        "AdapterRetired": {"reclaimableAt": free_at_s},
    }
    events = [
        event_of(name, {"adapterId": adapter.id, **arguments}, index=place)
        for place, (name, arguments) in enumerate(told.items())
    ]
    file = home.ledger(LOCAL_NETWORK)
    file.parent.mkdir(parents=True, exist_ok=True)
    ledger = open_ledger(file)
    ledger.events.append([block_of(1)], events if is_retired else events[:1])
    ledger.close()


@pytest.fixture
def adapter(home: Home, make_adapter_folder: Callable[..., Path]) -> Adapter:
    return add_adapter(home, make_adapter_folder(), FAKE_BASE)


@pytest.mark.process
def test_an_adapter_of_the_hub_is_pulled_without_a_node(home: Home, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "lake", base_model_name_or_path="acme/large")
    with fake_hub() as hub:
        hub.files["acme/lake"] = {file.name: file.read_bytes() for file in folder.iterdir()}
        env = node_environment(home, COLUMNS="400", OPENLEDGER_INFERENCE_BASE="fake", **hub.environment)
        pulled = run_command("adapters", "pull", "acme/lake", "--json", env=env, timeout_s=60)
        missing = run_command("adapters", "pull", "acme/none", env=env, timeout_s=60)
    (adapter,) = list_adapters(home)
    found = json.loads(pulled.stdout)
    assert (found["adapter"], found["digest"], found["from_peer"]) == (adapter.full_name, adapter.id, None)
    assert "its files name another base, acme/large" in pulled.stderr
    assert (missing.returncode, "the hub has no such repository" in missing.stderr) == (6, True)


def test_a_pin_beyond_the_budget_ends_with_3_and_the_numbers(run: Run, home: Home, tmp_path: Path) -> None:
    home.config_file.write_text("[inference]\nadapter_cache_bytes = 1048576\n")
    add_adapter(home, write_adapter(tmp_path / "harbour", tensors=pair(d_in=400_000)), FAKE_BASE)
    ran = run("adapters", "pin", "harbour", "--json")
    assert (ran.status, ran.stdout, read_pins(home)) == (3, "", ())
    assert "adapter_cache_bytes is 1.0 MB: raise it, or unpin another adapter" in ran.stderr


def test_nothing_is_removed_before_a_yes_and_a_bond_is_told_of(run: Run, home: Home, adapter: Adapter) -> None:
    ran = run("adapters", "remove", "harbour")
    assert (ran.status, list_adapters(home)) == (3, [adapter])
    assert f"no terminal to ask at: delete {adapter.full_name}" in ran.stderr
    assert "Only a new training or another copy brings it back. Give --yes" in ran.stderr
    register(home, adapter, bond_wei=10**19)
    assert run("adapters", "list", "--json").json["adapters"][0]["bond_wei"] == str(10**19)
    ran = run("adapters", "remove", "harbour")
    assert "It is published under a bond of 10 OPEN, and stays so. To serve it again you need a new" in ran.stderr
    assert "published under a bond of 10 OPEN" in run("adapters", "inspect", "harbour").stdout


def test_inspect_says_how_an_adapter_was_made(run: Run, home: Home, tmp_path: Path) -> None:
    magnitude = {"base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector": np.ones(D_OUT, np.float32)}
    folder = write_adapter(tmp_path / "dora", tensors={**pair(), **magnitude}, use_dora=True, use_rslora=True)
    add_adapter(home, folder, FAKE_BASE)
    shown = run("adapters", "inspect", "dora").stdout
    assert "DoRA, scaled by the root of the rank" in shown
    assert "q_proj 2" in shown
    fields = run("adapters", "inspect", "dora", "--json").json
    assert (fields["module_ranks"], fields["manifest"]["probe"]) == ({"q_proj": [2]}, None)
    assert (fields["is_dora"], fields["is_rslora"], fields["dtypes"]) == (True, True, ["F32"])


def test_a_pin_is_kept_until_the_adapter_is_unpinned_or_removed(run: Run, home: Home, adapter: Adapter) -> None:
    pinned = run("adapters", "pin", "harbour", "--json").json
    assert (pinned["adapter"], pinned["is_pinned"], read_pins(home)) == (adapter.full_name, True, (adapter.id,))
    assert "leaves memory" in run("adapters", "unpin", "harbour").stderr
    assert read_pins(home) == ()
    run("adapters", "pin", "harbour")
    listed = run("adapters", "list", "--json").json
    (entry,) = listed["adapters"]
    assert (entry["state"], entry["is_pinned"], entry["rank_max"], listed["memory"]) == ("on_disk", True, 2, None)
    assert "on disk, pinned" in run("adapters", "list").stdout
    assert run("adapters", "remove", "harbour", "--yes").status == 0
    assert read_pins(home) == ()


@pytest.mark.parametrize(
    ("free_at_s", "says"),
    [
        (FREE_AT_S, "its bond of 10 OPEN is free at 2096-10-02 07:06:40 UTC"),
        (1_700_000_000, "its bond of 10 OPEN has been free since 2023-11-14 22:13:20 UTC"),
    ],
)
def test_a_retired_adapter_names_its_bond(run: Run, home: Home, adapter: Adapter, free_at_s: int, says: str) -> None:
    register(home, adapter, bond_wei=10**19, is_retired=True, free_at_s=free_at_s)
    entry = run("adapters", "list", "--json").json["adapters"][0]
    assert (entry["bond_wei"], entry["bond_free_at"]) == (str(10**19), rfc3339(free_at_s))
    assert says in run("adapters", "list").stderr.replace("\n", " ")
    assert f"retired; {says}" in run("adapters", "inspect", "harbour").stdout
    asked = run("adapters", "remove", "harbour").stderr
    assert "and stays so" not in asked
    assert asked.count("`openledger-node adapters reclaim") == 1
