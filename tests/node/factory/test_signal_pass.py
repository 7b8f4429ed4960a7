"""The pass that builds an index of signals: its bound of memory, and an order that asks for it."""

import json
import subprocess
import sys

import pytest

from openledger_node.errors import ModelError
from openledger_node.factory import signal_pass
from openledger_node.factory.signal_pass import PassEndedError, SignalPass, rows_within, run_signal_pass
from openledger_protocol.codec import to_plain
from openledger_protocol.primitives import Digest


@pytest.mark.parametrize(
    ("lengths", "num_tokens", "count"),
    [([5, 5, 5], 15, 3), ([5, 5, 5], 14, 2), ([9, 1, 1], 9, 1), ([9, 1, 1], 8, 0), ([], 8, 0)],
)
def test_statistics_use_no_more_rows_than_fit_even_if_the_longest_are_chosen(
    lengths: list[int], num_tokens: int, count: int
) -> None:
    assert rows_within(lengths, num_tokens) == count


PASS = SignalPass(
    base_folder="/nowhere",
    adapter_folder="/nowhere",
    folder="/nowhere",
    rows_root=Digest("0x" + "0" * 64),
    rows=(),
    device="cpu",
    tokens_max=16,
)


SCRIPT = """
from openledger_node.factory import signal_pass
signal_pass.build = lambda _: signal_pass.threading.Event().wait()
signal_pass.main()
"""
ENDLESS = [sys.executable, "-c", SCRIPT]


@pytest.mark.process
def test_a_pass_ends_with_the_process_that_started_it() -> None:
    """Even in its longest step. Otherwise it would go on writing the index that a continued training writes."""
    with subprocess.Popen(ENDLESS, stdin=subprocess.PIPE, text=True) as worker:
        worker.stdin.write(json.dumps(to_plain(PASS)) + "\n")
        worker.stdin.close()  # as it does when the parent is killed
        assert worker.wait(60) == 1


@pytest.mark.process
def test_a_pass_that_fails_says_why() -> None:
    with pytest.raises(ModelError, match=r"the index of signals could not be built: .*/nowhere"):
        run_signal_pass(PASS)


@pytest.mark.process
def test_a_pass_ends_as_soon_as_its_caller_wishes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take an hour, in which `factory stop` and the end of the node would go unheard."""
    started: list[subprocess.Popen[str]] = []

    def start(*_: object, **__: object) -> "subprocess.Popen[str]":
        started.append(subprocess.Popen(ENDLESS, stdin=subprocess.PIPE, text=True))
        return started[0]

    monkeypatch.setattr(signal_pass, "start_worker", start)
    monkeypatch.setattr(signal_pass, "LOOK_EVERY_S", 0.001)
    looks = iter([False, False, True])
    with pytest.raises(PassEndedError):
        run_signal_pass(PASS, lambda: next(looks))
    assert started[0].returncode == -9
