"""Without a card there is nothing to run here, and nothing is collected, but for a rehearsal on the interpreter."""

import pytest
from support.on_card import IS_ON_CARD, MODE, set_up_kernels

collect_ignore_glob = [] if MODE else ["test_*.py"]

if MODE:
    set_up_kernels()


@pytest.fixture(autouse=True)
def short_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter runs one program after the other."""
    if not IS_ON_CARD:
        from openledger_node.backends.cuda.kernels import lora

        monkeypatch.setattr(lora, "SPLITS", 2)
        monkeypatch.setattr(lora, "SHRINK_PROGRAMS", 1)
