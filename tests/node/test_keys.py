"""The API key: drawn once, its owner's alone, whole or not there."""

import subprocess
import sys

import pytest

from openledger_node.api_key import api_key_file, load_api_key
from openledger_node.errors import ConfigError
from openledger_node.home import Home

# A disk that takes six bytes of a file and no more: Python ignores the signal, and the write fails half-way.
FULL_DISK = """
import resource, sys
from pathlib import Path
from openledger_node.home import Home
from openledger_node.api_key import load_api_key
resource.setrlimit(resource.RLIMIT_FSIZE, (6, 6))
load_api_key(Home(Path(sys.argv[1])))
"""


def test_a_key_is_drawn_once_for_each_data_directory_and_its_owner_alone(
    home: Home, tmp_path_factory: pytest.TempPathFactory
) -> None:
    key = load_api_key(home)
    assert key.startswith("olk-")
    assert len(key) > 40
    assert load_api_key(home) == key != load_api_key(Home(tmp_path_factory.mktemp("other")))
    assert api_key_file(home).stat().st_mode & 0o777 == 0o600
    assert home.keys.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_key_that_others_can_reach_is_refused_with_the_line_that_mends_it(home: Home, mode: int) -> None:
    load_api_key(home)
    file = api_key_file(home)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=f"run `chmod 600 {file}`"):
        load_api_key(home)


@pytest.mark.parametrize("content", ["", "  \n"])
def test_an_empty_key_lets_nobody_in(home: Home, content: str) -> None:
    load_api_key(home)
    api_key_file(home).write_text(content)
    with pytest.raises(ConfigError, match="is empty: delete it"):
        load_api_key(home)


@pytest.mark.process
def test_a_write_that_was_cut_off_leaves_no_key_and_the_next_start_draws_a_whole_one(home: Home) -> None:
    run = subprocess.run([sys.executable, "-c", FULL_DISK, str(home.root)], capture_output=True, check=False)
    assert run.returncode != 0
    assert not api_key_file(home).exists()
    key = load_api_key(home)
    assert len(key) > 40
    assert [file.name for file in home.keys.iterdir()] == ["api.key"]


def test_what_a_cut_off_write_left_behind_is_no_key(home: Home) -> None:
    home.keys.mkdir()
    (home.keys / "api.partial").write_text("olk-torn")
    (home.keys / "api.partial").chmod(0o644)
    assert load_api_key(home) != "olk-torn"
    assert api_key_file(home).stat().st_mode & 0o777 == 0o600
