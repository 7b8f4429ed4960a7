"""Fixtures that most tests want, and hypothesis set so that every run tries the same examples."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, settings
from support.budget import Budget
from support.derived_keys import make_cheap, remember_derived
from support.memory_disk import use_memory_disk
from support.peft_folders import write_adapter
from support.tiers import IS_DEEP, ProcessGuard, depth, is_of_other_tier, mark_by_folder

from openledger_node.home import Home
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.plugs import PLUGS

if TYPE_CHECKING:
    from playwright.sync_api import Browser

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait by spinning would slow the other workers

# Kernels run on Triton's interpreter, or on the card of `make test-gpu`. PEFT imports Triton, so it is said here.
os.environ["TRITON_INTERPRET"] = "0" if os.environ.get("GPU_FOR_TESTS") == "1" else "1"

if shutil.which("g++"):
    os.environ.setdefault("CXX", str(Path(__file__).parent / "support" / "compiler" / "g++"))

remember_derived()
make_cheap()

FRAMES_MAX = 1_000
"""Python's own limit of recursion, as in the node: libraries that tests use raise it for the whole process."""


@pytest.fixture(autouse=True)
def usual_recursion() -> None:
    sys.setrecursionlimit(FRAMES_MAX)


settings.register_profile(
    "same-each-run",
    max_examples=depth(light=100, deep=2_000),
    derandomize=True,
    deadline=None,  # a busy machine is no failure
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("same-each-run")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    root = tmp_path / "home"
    root.mkdir(mode=0o700)
    return Home(root)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(open_ledger(tmp_path / "ledger.db")) as opened:
        yield opened


@pytest.fixture
def make_adapter_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write a sound PEFT folder `source/NAME`; keywords change its config, `tensors` its weights."""

    def make(name: str = "harbour", **changes: Any) -> Path:
        return write_adapter(tmp_path / "source" / name, **changes)

    return make


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """One for all tests of a worker: playwright refuses a second in the same process."""
    from support.pages import open_browser

    with open_browser() as opened:
        yield opened


@pytest.fixture
def autojump_clock(monkeypatch: pytest.MonkeyPatch) -> trio.testing.MockClock:
    """Time jumps to the next deadline once every task waits for time alone: while a thread works for one, it stands.

    trio's own jump looks at tasks only. What a thread does (a row that is written, a file that is hashed) would take
    hours by such a clock, and a deadline would pass first on a busy machine.
    """
    clock = trio.testing.MockClock(autojump_threshold=0)
    run_sync = trio.to_thread.run_sync
    num_working = 0

    async def run_while_time_stands(*args: Any, **keywords: Any) -> Any:
        nonlocal num_working
        num_working += 1
        clock.autojump_threshold = inf
        try:
            return await run_sync(*args, **keywords)
        finally:
            num_working -= 1
            if not num_working:
                clock.autojump_threshold = 0

    monkeypatch.setattr(trio.to_thread, "run_sync", run_while_time_stands)
    return clock


CONFORMANCE: dict[str, list[str]] = {}
"""`file[plug]` → the outcome of each conformance test that ran over it in this session."""


@pytest.fixture(scope="session")
def conformance() -> dict[str, list[str]]:
    return CONFORMANCE


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    path, _, name = report.nodeid.partition("@")[0].partition("::")
    is_verdict = report.when == "call" or report.outcome != "passed"
    if "conformance/" in path and "[" in name and is_verdict:
        socket, case = Path(path).stem.removeprefix("test_"), name.partition("[")[2].rstrip("]")
        plug = next((plug for plug in PLUGS.get(socket, ()) if f"{case}-".startswith(f"{plug}-")), case)
        CONFORMANCE.setdefault(f"{path.rpartition('/')[2]}[{plug}]", []).append(report.outcome)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--budget", metavar="TIER", help="print seconds of the processor beside tests/budget.toml's")


def pytest_configure(config: pytest.Config) -> None:
    use_memory_disk(config)
    config.pluginmanager.register(Budget(config.getoption("--budget")))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    is_test_file = collection_path.match("test_*.py")
    return True if is_test_file and is_of_other_tier(collection_path, config.getoption("--budget")) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put what takes longest first, and the test that looks at what ran last; leave out what is too deep."""
    mark_by_folder(items)
    items.sort(
        key=lambda item: (
            item.path.parent.name not in ("checks", "programs", "web"),
            item.path.name == "test_plugs_ran.py",
        )
    )
    left_out = [item for item in items if item.get_closest_marker("deep") and not IS_DEEP]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


GUARD = ProcessGuard()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    with GUARD.watch(item):
        return (yield)
