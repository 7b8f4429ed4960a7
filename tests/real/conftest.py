"""The real demo base, as `make test` has pulled it."""

from pathlib import Path

import pytest
from support.processes.nodes import TEST_HOME

from openledger_node.home import Home
from openledger_node.models.download import pull_base
from openledger_protocol.constants import DEMO_BASE_NAME


@pytest.fixture(scope="session")
def demo_base() -> Path:
    """The demo base's folder; fetched now if this is a single test's run."""
    base = pull_base(TEST_HOME, DEMO_BASE_NAME, source=None, report=lambda stage: None)
    assert base.folder is not None
    return base.folder


@pytest.fixture(scope="session")
def real_home(demo_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home of its own that shares the base's files."""
    home = Home(tmp_path_factory.mktemp("real"))
    home.models.mkdir()
    (home.models / DEMO_BASE_NAME).symlink_to(demo_base)
    return home
