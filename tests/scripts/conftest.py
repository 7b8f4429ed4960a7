"""An economy to audit; what these tests import lies beside them and in scripts/, as for whoever runs a script."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parents[1] / "scripts"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have one worker run all that audit the same economy."""
    for item in items:
        if item.path.parent == HERE and "browser" not in item.fixturenames:  # type: ignore[attr-defined]
            item.add_marker(pytest.mark.xdist_group("scripts"))


@pytest.fixture(scope="session")
def audited() -> Iterator[tuple[Any, Any]]:
    """An economy in which all has happened that moves money, and what one audit has asked of its chain."""
    from audited_economy import run_economy
    from liars import Remembered

    from openledger_node.audit.report import audit

    session = run_economy()
    still = Remembered(session.client)
    audit(still, session.network)
    yield session, still
    session.client.close()


@pytest.fixture(scope="session")
def session(audited: tuple[Any, Any]) -> Any:
    """The economy, to which tests may add what leaves its books right."""
    return audited[0]


@pytest.fixture(scope="session")
def still(audited: tuple[Any, Any]) -> Any:
    """Its chain as it was at first, whatever a test has done on it."""
    return audited[1]
