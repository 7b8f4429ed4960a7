"""One chain for all tests of a file: to deploy everything takes longer than most of them."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from support.chain_world.contract_world import ContractWorld, open_contract_world


@pytest.fixture(scope="module")
def world() -> Iterator[ContractWorld]:
    world: ContractWorld = open_contract_world()
    with closing(world.chain.client):
        yield world
