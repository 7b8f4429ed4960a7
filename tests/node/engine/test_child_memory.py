"""The memory of the engine's process: drawing a token must not fetch its temporaries from the system each time."""

import json
import platform
import subprocess
import sys

import pytest

from openledger_node.engine.child import MALLOC, child_environment

NUM_DRAWS = 50
DRAWS = f"""
import json, resource
import numpy as np
from openledger_node.engine.backend import Draw
from openledger_node.engine.sampler import draw
from openledger_protocol.inference import SamplingParams

logits = np.random.default_rng(1).standard_normal(128_256, dtype=np.float32) * 3
def token(seed):
    sampling = SamplingParams(max_tokens=1, seed=seed, temperature=0.7, top_p=0.9)
    return draw(logits, Draw(sampling=sampling, position=9)).token
warm = [token(seed) for seed in range(5)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
tokens = [token(seed) for seed in range({NUM_DRAWS})]
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(json.dumps([tokens, faults / {NUM_DRAWS}]))
"""


def drawn(environment: dict[str, str]) -> tuple[list[int], float]:
    """The tokens of a process, and its page faults a draw."""
    command = [sys.executable, "-c", DRAWS]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    tokens, faults = json.loads(ran.stdout)
    return tokens, faults


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="these settings are glibc's")
def test_a_drawn_token_of_a_large_vocabulary_faults_in_no_memory_and_is_the_same_token() -> None:
    chosen = child_environment("auto", 0)
    tokens, faults = drawn(chosen)
    plain_tokens, plain_faults = drawn({name: value for name, value in chosen.items() if name not in MALLOC})
    assert tokens == plain_tokens
    assert faults < 5
    assert plain_faults > 100, "without the settings this test shows nothing"


def test_an_operators_own_settings_for_malloc_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000")
    assert child_environment("auto", 0)["MALLOC_TRIM_THRESHOLD_"] == "1000"
