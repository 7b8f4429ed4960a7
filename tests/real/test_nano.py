"""The engine alone on the demo base: base and adapters answer in one batch, each in its own way."""

from pathlib import Path

import pytest

from openledger_node.config import load_config
from openledger_node.engine.nano import Nano
from openledger_node.engine.options import engine_options
from openledger_node.home import Home
from openledger_node.models.adapter_files.random_adapter import read_linears, write_random_adapter
from openledger_node.models.bases import find_base
from openledger_protocol.constants import DEMO_BASE_NAME
from openledger_protocol.inference import SamplingParams

pytestmark = pytest.mark.real

PROMPTS = ("Name three rivers.", "Name three rivers of Europe.")
SAMPLING = SamplingParams(max_tokens=12, seed=3, temperature=0.7)


def test_base_and_adapters_answer_in_one_batch(real_home: Home, demo_base: Path, tmp_path: Path) -> None:
    linears = read_linears(demo_base)
    sources = [write_random_adapter(tmp_path / f"a{n}", linears, rank=8 * n, seed=n) for n in (1, 2)]
    config, _ = load_config(real_home.config_file)
    nano = Nano(engine_options(real_home, config, find_base(real_home, DEMO_BASE_NAME)))
    for prompt in PROMPTS:
        for number, source in enumerate([None, *sources]):
            nano.ask(f"{number}/{prompt}", prompt, SAMPLING, source)
    assert max(len(stepped.rows) for stepped in nano.run()) == len(nano.answers)
    assert len(set(nano.answers.values())) == len(nano.answers)
