"""The change of the base: a stop and a second order while it is under way."""

import pytest

from openledger_node.config import Config
from openledger_node.errors import ConfigError
from openledger_node.home import Home
from openledger_node.operator.base_switch import BaseSwitch

CHANGES = {"inference.base": "other"}


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
