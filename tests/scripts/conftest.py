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


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    """An economy in which all has happened that moves money."""
    from audited_economy import run_economy

    session = run_economy()
    yield session
    session.client.close()
