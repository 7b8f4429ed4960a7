"""Client of the factory: a running node trains while the command shows progress; else the command itself trains."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from ..errors import ModelError, NodeError
from ..factory.service import TrainingService
from ..home import Home
from .daemon_client import ask_daemon, load_settings
from .factory_view import TrainingReport, follow, say_format, show_adapter, show_state
from .render import say

ORDER_TIMEOUT_S = 120.0
"""Limit for an order: the tokens of every row are counted first."""

POLL_S = 0.3


def work(
    home: Home, path: str, body: dict[str, Any], begin: Callable[[TrainingService], int], *, as_json: bool
) -> None:
    """Carry out a training, and show its result."""
    number = carry_on(home, path, body, begin)
    found = show_factory(home, number)["run"]
    if found["state"] == "failed":
        raise ModelError(found["error"])
    if found["adapter"] is None:
        show_state(found, as_json=as_json)
        return
    show_adapter(home, found, as_json=as_json)


def carry_on(home: Home, path: str, body: dict[str, Any], begin: Callable[[TrainingService], int]) -> int:
    """Train in the running node and show its progress, or in this process if none runs; return the run's number."""
    asked = ask_daemon(home, "POST", path, body, timeout_s=ORDER_TIMEOUT_S)
    with TrainingReport() as report:
        if asked is None:
            return _carry_out_here(home, begin, report)
        number: int = asked["number"]
        say_format(asked)
        try:
            follow(asked, lambda: show_factory(home, number)["run"], report, poll_s=POLL_S)
        except KeyboardInterrupt:
            say(f"training {number} continues in the node: follow it with `openledger-node factory status --watch`")
            raise
    return number


def _carry_out_here(home: Home, begin: Callable[[TrainingService], int], report: TrainingReport) -> int:
    own = training_service(home)
    number = begin(own)
    say_format(own.run(number))
    try:
        own.carry_out(number, report, report.stage)
    except KeyboardInterrupt:
        say(
            "interrupted: `openledger-node factory resume` continues from the last checkpoint, "
            "`openledger-node factory stop` discards the training"
        )
        raise
    return number


def leave_to_node(home: Home, order: dict[str, Any], *, as_json: bool) -> None:
    """Start a training in the running node, and return.

    Raises:
        NodeError: no node is running.
    """
    asked = ask_daemon(home, "POST", "/factory/train", order, timeout_s=ORDER_TIMEOUT_S)
    if asked is None:
        raise NodeError(
            "only a running node trains in the background: run `openledger-node start`, or leave out --no-wait"
        )
    show_state(asked, as_json=as_json)


def answer(home: Home, path: str, body: dict[str, Any], here: Callable[[TrainingService], dict[str, Any]]) -> Any:
    """Send an order to the running node, or carry it out in this process if none runs."""
    return ask_daemon(home, "POST", path, body, timeout_s=ORDER_TIMEOUT_S) or here(training_service(home))


def show_factory(home: Home, number: int | None) -> dict[str, Any]:
    """Return the state of the factory, with one training in full."""
    query = "" if number is None else f"?run={number}"
    asked: dict[str, Any] | None = ask_daemon(home, "GET", f"/factory{query}", timeout_s=ORDER_TIMEOUT_S)
    return asked or training_service(home).show(number)


def estimate(home: Home, order: dict[str, Any]) -> Any:
    """Ask the running node for an estimate, which counts what it serves as well; None if no node runs."""
    query = urlencode({name: value for name, value in order.items() if value is not None})
    return ask_daemon(home, "GET", f"/factory/estimate?{query}", timeout_s=ORDER_TIMEOUT_S)


def is_left(home: Home) -> bool:
    """Return True if a training is open and no process works on it."""
    run = show_factory(home, None)["run"]
    return run is not None and run["who"] is None and run["state"] not in ("done", "stopped", "failed")


def training_service(home: Home) -> TrainingService:
    """Open the training service in this process."""
    return TrainingService(home, load_settings(home))
