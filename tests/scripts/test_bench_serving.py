"""The serving benchmark's short form, whose figures mean nothing: one part in CI, all parts in `make test-deep`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.depth import depth
from support.processes.nodes import ROOT, TEST_HOME

from openledger_node.models.download import pull_base
from openledger_protocol.constants import DEMO_BASE_NAME

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.ci]

NEEDS_VLLM = {"torch_k32_over_vllm", "k32_over_vllm"}
TIMEOUT_S = 600


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "docs"
    (folder / "reference").mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "reference" / "benchmarks.md", folder / "reference")
    return folder


@pytest.fixture(scope="module")
def found(docs: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The object on the last line of a run without vLLM, which has an environment of its own."""
    pull_base(TEST_HOME, DEMO_BASE_NAME, source=None, report=lambda stage: None)
    work = tmp_path_factory.mktemp("work")
    words = ["--quick", "--json", "--peers", "peft", "--work", str(work)]
    words += depth(light=["--only", "exact"], deep=["--write-docs", str(docs)])
    command = [sys.executable, str(ROOT / "scripts" / "bench" / "serving.py"), *words]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return json.loads(ran.stdout.splitlines()[-1])


def test_every_bar_has_a_value_or_says_why_not(found: Any) -> None:
    bars = {bar["id"]: bar for bar in found["bars"]}
    assert len(bars) == len(found["bars"])
    assert len(bars) >= depth(light=4, deep=15)
    exact = found["runs"]["exact"]
    accelerated = exact["accelerated"]["kernel"] != exact["torch"]["kernel"]
    for id, bar in bars.items():
        assert set(bar) == {"id", "value", "unit", "goal", "stretch", "better", "met", "why"}
        if bar["value"] is None:
            assert bar["why"], id
            assert id in NEEDS_VLLM or not accelerated, (id, bar["why"])


def test_what_is_right_is_right_in_the_short_form_too(found: Any) -> None:
    bars = {bar["id"]: bar for bar in found["bars"]}
    for id in ("fp32_logit_error", "fp32_tokens_identical", *depth(light=(), deep=("zipf_failures",))):
        assert bars[id]["met"], bars[id]
    assert bars["bitwise_alone_and_in_batch"]["value"] in (1, None)


def test_the_run_says_where_it_ran(found: Any) -> None:
    env = found["env"]
    assert env["cpu"]
    assert {"load", "threads", "dtype"} <= set(env)
    assert {"openledger-node", "python", "torch", "transformers", "peft"} <= set(env["versions"])


@pytest.mark.deep(reason="the page has all parts")
def test_its_page_and_charts_are_written(found: Any, docs: Path) -> None:
    page = (docs / "reference" / "benchmarks.md").read_text()
    assert "these figures mean nothing" in page
    for bar in found["bars"]:
        assert bar["value"] is None or f"{bar['value']:.3g}"[:3] in page
    for name in ("serving-distinct.png", "serving-registered.png"):
        assert (docs / "pictures" / name).read_bytes().startswith(b"\x89PNG")
