"""The change of the base: a stop and a second order while it is under way."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from openledger_node.card import Card, TorchBuild
from openledger_node.config import Config
from openledger_node.engine import base_fit
from openledger_node.errors import ConfigError, ModelError
from openledger_node.home import Home
from openledger_node.machine import Machine
from openledger_node.models.bases import FAKE_BASE
from openledger_node.models.known_bases import known_base
from openledger_node.operator import base_look, base_switch
from openledger_node.operator.base_switch import BaseSwitch

CHANGES = {"inference.base": "other"}
GB = 10**9


@pytest.fixture
def switch(home: Home) -> BaseSwitch:
    return BaseSwitch(home, Config(), lambda _: None)


def test_a_stop_while_a_change_is_checked_wins(switch: BaseSwitch) -> None:
    assert not switch.call_off()  # nothing was ordered yet
    with pytest.raises(ConfigError, match="the node is stopping"):
        switch.order(CHANGES)
    assert not switch.advance(switch.config)


def test_two_changes_that_are_checked_at_once_are_one(switch: BaseSwitch) -> None:
    switch.order(CHANGES)
    with pytest.raises(ConfigError, match="changing to other already"):
        switch.order({"inference.base": "third"})
    assert switch.advance(switch.config)
    assert switch.config.inference.base == "other"


def test_a_stop_while_the_new_base_loads_is_remembered_when_it_fails(switch: BaseSwitch) -> None:
    switch.order(CHANGES)
    switch.advance(switch.config)
    assert not switch.call_off()
    assert switch.fall_back("its weights are torn")
    assert switch.is_stopping


def test_a_card_that_counts_the_engine_as_another_program_has_room_for_the_next_base(
    home: Home, switch: BaseSwitch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = known_base("Qwen/Qwen3-4B-Instruct-2507")
    assert known is not None
    (tmp_path / "config.json").write_text(json.dumps(known.fields))
    wanted = replace(FAKE_BASE, name="next", folder=tmp_path)
    card = Card(vendor="amd", name="an AMD GPU", total_bytes=16 * GB, taken_bytes=13 * GB)
    machine = Machine(ram_bytes=32 * GB, card=card, torch=TorchBuild("2.13.0+rocm6.4", None, "6.4.4"))
    monkeypatch.setattr(base_look, "look_at_machine", lambda: machine)
    monkeypatch.setattr(base_fit, "runs_kernels", lambda *_: True)
    monkeypatch.setattr(base_switch, "find_base", lambda *_: wanted)
    monkeypatch.setattr(base_switch, "_is_served", lambda *_: False)
    with pytest.raises(ModelError, match=r"your card has 3\.0 GB for it"):
        switch.check("next", Config(), held_bytes=0)
    assert switch.check("next", Config(), held_bytes=12 * GB) == {"inference.base": str(tmp_path)}
