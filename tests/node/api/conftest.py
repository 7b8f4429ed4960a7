from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes.nodes import Node, running_node

from openledger_node.home import Home


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node on the fake backend, shared by all tests of the API."""
    root: Path = tmp_path_factory.mktemp("api")
    with running_node(Home(root), "--backend", "fake", OPENLEDGER_INFERENCE_QUEUE_MAX="8") as running:
        yield running
