"""A block is final once two endpoints say so: one that lies about it moves no money."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import pytest

from openledger_node.chain.clients.simulated import SimulatedClient, open_client
from openledger_node.chain.rpc_client import RpcClient
from openledger_node.errors import ChainError
from openledger_protocol.chain import Block
from openledger_protocol.primitives import ZERO_DIGEST

HEAD = 9


@pytest.fixture(scope="module")
def chain() -> Iterator[SimulatedClient]:
    with closing(open_client()) as opened:
        for _ in range(HEAD):
            opened.advance(1)
        yield opened


@dataclass
class Second:
    """Another endpoint of the chain, which lies as a test says."""

    chain: SimulatedClient
    finalized: int
    is_forked: bool = False
    is_short: bool = False
    is_silent: bool = False

    def finalized_number(self) -> int:
        if self.is_silent:
            raise ChainError("the endpoint at two does not answer")
        return self.finalized

    def block(self, number: int) -> Block | None:
        found = self.chain.block(number)
        if self.is_short or found is None:
            return None
        return replace(found, hash=ZERO_DIGEST) if self.is_forked else found


def final_by(chain: SimulatedClient, second: Any) -> int:
    return RpcClient(chain._endpoint, second=second).finalized_number()


@pytest.mark.parametrize(("theirs", "agreed"), [(3, 3), (100, HEAD - 2)], ids=["a slow second", "a fast second"])
def test_what_both_call_final_is_final(chain: SimulatedClient, theirs: int, agreed: int) -> None:
    assert chain.finalized_number() == HEAD - 2
    assert final_by(chain, Second(chain, theirs)) == agreed


@pytest.mark.parametrize("lie", [{"is_forked": True}, {"is_short": True}], ids=["another block", "no block"])
def test_endpoints_that_differ_make_nothing_final(chain: SimulatedClient, lie: dict[str, bool]) -> None:
    with pytest.raises(ChainError, match=r"different final blocks 4: compare them .* set \[chain\] rpc to the one"):
        final_by(chain, Second(chain, 4, **lie))


def test_a_second_endpoint_that_is_silent_makes_nothing_final(chain: SimulatedClient) -> None:
    with pytest.raises(ChainError, match="the endpoint at two does not answer"):
        final_by(chain, Second(chain, 4, is_silent=True))
