from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes.nodes import Node, running_node

from openledger_node.home import Home

RUNNING = {"node", "shared"}
"""Fixtures of a node in a process of its own."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and RUNNING & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.process)


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node on the fake backend, shared by all tests of the API."""
    root: Path = tmp_path_factory.mktemp("api")
    with running_node(Home(root), "--backend", "fake", OPENLEDGER_INFERENCE_QUEUE_MAX="8") as running:
        yield running
