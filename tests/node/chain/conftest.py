"""A scripted chain."""

import pytest
from support.scripted_chain import ScriptedChain


@pytest.fixture
def chain() -> ScriptedChain:
    return ScriptedChain()
