"""A sample adapter of the package on the real base: added in one command, with the index of its rows."""

import json
from pathlib import Path

import pytest
from support.commands import run_command
from support.processes.nodes import node_environment

from openledger_node.attribution.index import open_adapter_index
from openledger_node.datanets.rows import rows_digest
from openledger_node.datanets.sample import named_sample
from openledger_node.home import Home
from openledger_node.models.adapters import read_adapter
from openledger_node.models.library import list_adapters

pytestmark = pytest.mark.model


def test_a_sample_is_added_with_the_index_of_its_rows_and_twice_is_once(demo_base: Path, tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.models.symlink_to(demo_base.parent)
    for _ in range(2):
        ran = run_command("adapters", "add", "--sample", "harbour", "--json", env=node_environment(home))
        assert ran.returncode == 0, ran.stderr
        assert "taught by Ansel Larkspur, Bertram Hobb, Rosalind Sedge" in ran.stderr
    (adapter,) = list_adapters(home)
    assert adapter == read_adapter(Path(json.loads(ran.stdout)["folder"]))
    index = open_adapter_index(adapter)
    assert index is not None
    assert [datanet.rows_root for datanet in index.datanets] == [rows_digest(named_sample("harbour").rows)]
