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
def session() -> Iterator[Any]:
    """An economy in which all has happened that moves money."""
    from audited_economy import run_economy

    session = run_economy()
    yield session
    session.client.close()


@pytest.fixture(scope="session")
def still(session: Any) -> Any:
    """Its chain as it is at first, whatever a test does on it later."""
    from liars import Remembered

    return Remembered(session.client)
