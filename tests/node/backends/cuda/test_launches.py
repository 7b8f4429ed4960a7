"""What a decoding step asks a card to start: each launch costs the processor time, and a graph one node."""

import pytest
from support.launches import ROWS, launches_a_layer
from support.on_card import IS_ON_CARD

from openledger_node.backends.cuda.selfcheck import KernelEngine
from openledger_node.backends.torch_lora.selfcheck import TorchEngine

PLAIN_TORCH = {"bare": 39, "1 adapter": 50, "4 shapes": 83, "16 shapes": 215}
KERNELS = {"bare": 9, "1 adapter": 17, "4 shapes": 17, "16 shapes": 17}
"""Nine: two norms, four products, rotation, attention and the gate. Adapters on a product are two more."""

pytestmark = [
    pytest.mark.skipif(IS_ON_CARD, reason="launches are counted on the interpreter"),
    pytest.mark.usefixtures("fewer_programs"),
]


@pytest.mark.parametrize("rows", ROWS)
def test_a_layer_takes_as_many_launches_as_the_docs_say(rows: str) -> None:
    assert launches_a_layer(TorchEngine, ROWS[rows]) == PLAIN_TORCH[rows]


@pytest.mark.parametrize("rows", ["bare", "4 shapes"])
def test_the_shapes_of_adapters_cost_no_launch_on_the_kernels(rows: str) -> None:
    assert launches_a_layer(KernelEngine, ROWS[rows]) == KERNELS[rows]
