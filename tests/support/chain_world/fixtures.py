"""A world with two nodes for each test, and one of them that sells; a conftest imports these fixtures by name."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from .seller import Seller, start_seller
from .world import World, open_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as opened:
        yield opened


@pytest.fixture
async def seller(tmp_path: Path, world: World) -> AsyncIterator[Seller]:
    async with start_seller(tmp_path, world) as opened:
        yield opened
