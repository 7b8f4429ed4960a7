"""Changing node.toml line by line."""

import tomllib
from pathlib import Path

import pytest

from openledger_node.errors import ConfigError
from openledger_node.settings_file import write_settings

WRITTEN = """\
# my node
[market]   # what I ask
price_in_wei = 5 # cheap # "really"
# price_out_wei = 7

[payer]
day_max_wei = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "node.toml"
    made.write_text(WRITTEN)
    return made


def test_a_value_changes_and_every_comment_stays(file: Path) -> None:
    write_settings(file, {"market.price_in_wei": 9, "market.price_out_wei": 11, "limits.hours": "22:00-07:00"})
    assert (
        file.read_text()
        == WRITTEN.replace(
            'price_in_wei = 5 # cheap # "really"\n# price_out_wei = 7\n',
            'price_in_wei = 9  # cheap # "really"\n# price_out_wei = 7\nprice_out_wei = 11\n',
        )
        + '\n[limits]\nhours = "22:00-07:00"\n'
    )


def test_a_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    write_settings(file, {"node.serve": False, "inference.base": 'a "quoted" \\ name'})
    assert tomllib.loads(file.read_text()) == {"node": {"serve": False}, "inference": {"base": 'a "quoted" \\ name'}}
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("market.price", 5, "there is no setting market.price"),
        ("money.price_in_wei", 5, "there is no setting"),
        ("market.price_in_wei", "5", "must be an integer"),
        ("market.price_in_wei", -1, "the least is 0"),
    ],
)
def test_a_wrong_setting_changes_nothing(file: Path, name: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        write_settings(file, {"payer.day_max_wei": 4, name: value})
    assert file.read_text() == WRITTEN


@pytest.mark.parametrize(
    "written",
    ["market = {price_in_wei = 5}\n", '[market]\n"price_in_wei" = 5\n'],
    ids=["an inline table", "a quoted key"],
)
def test_a_file_written_another_way_is_left_as_it_is_and_says_what_to_write(tmp_path: Path, written: str) -> None:
    file = tmp_path / "node.toml"
    file.write_text(written)
    with pytest.raises(ConfigError, match=r"write \[market\] price_in_wei = 9 into it yourself"):
        write_settings(file, {"market.price_in_wei": 9})
    assert file.read_text() == written
