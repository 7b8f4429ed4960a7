"""A world of a node and a payer on a simulated chain."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chain_world.world import World, open_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as opened:
        yield opened
