"""Without a card there is nothing to run here, and nothing is collected, but for a rehearsal on the interpreter."""

from collections.abc import Iterator

import numpy as np
import pytest
from support.on_card import IS_ON_CARD, MODE, set_up_kernels

collect_ignore_glob = [] if MODE else ["test_*.py"]

if MODE:
    set_up_kernels()


@pytest.fixture(autouse=True)
def short_rehearsal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The interpreter runs one program after the other, and numpy below it warns of what a card does in silence."""
    if not IS_ON_CARD:
        from openledger_node.backends.cuda.kernels import lora

        monkeypatch.setattr(lora, "SPLITS", 2)
        monkeypatch.setattr(lora, "SHRINK_PROGRAMS", 1)
    with np.errstate(all="ignore"):
        yield
