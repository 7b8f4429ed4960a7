"""Having a training worked on: by a running node while the verb shows how it goes, else by the verb's own process."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from ..errors import ModelError, NodeError
from ..factory.service import TrainingService
from ..home import Home
from .daemon_client import ask_daemon, load_settings
from .factory_view import TrainingReport, follow, show_adapter, show_state
from .render import say

ORDER_TIMEOUT_S = 120.0
"""For an order: every row is counted in tokens first."""

POLL_S = 0.3


def work(
    home: Home, path: str, body: dict[str, Any], begin: Callable[[TrainingService], int], *, as_json: bool
) -> None:
    """Have a training carried out, and show what has come of it."""
    number = carry_on(home, path, body, begin)
    found = show_factory(home, number)["run"]
    if found["state"] == "failed":
        raise ModelError(found["error"])
    if found["adapter"] is None:
        show_state(found, as_json=as_json)
        return
    show_adapter(home, found, as_json=as_json)


def carry_on(home: Home, path: str, body: dict[str, Any], begin: Callable[[TrainingService], int]) -> int:
    """A running node does it while this verb shows how it goes; without one this process does. Returns which."""
    asked = ask_daemon(home, "POST", path, body, timeout_s=ORDER_TIMEOUT_S)
    with TrainingReport() as report:
        if asked is None:
            return _carry_out_here(home, begin, report)
        number: int = asked["number"]
        try:
            follow(asked, lambda: show_factory(home, number)["run"], report, poll_s=POLL_S)
        except KeyboardInterrupt:
            say(f"training {number} goes on in the node: `openledger-node factory status --watch` shows it again")
            raise
    return number


def _carry_out_here(home: Home, begin: Callable[[TrainingService], int], report: TrainingReport) -> int:
    own = training_service(home)
    number = begin(own)
    try:
        own.carry_out(number, report)
    except KeyboardInterrupt:
        say(
            "cut off: `openledger-node factory resume` goes on from its last checkpoint, "
            "`openledger-node factory stop` forgets it"
        )
        raise
    return number


def leave_to_node(home: Home, order: dict[str, Any], *, as_json: bool) -> None:
    """Have a running node train, and leave.

    Raises:
        NodeError: none runs.
    """
    asked = ask_daemon(home, "POST", "/factory/train", order, timeout_s=ORDER_TIMEOUT_S)
    if asked is None:
        raise NodeError("only a running node trains on without you: `openledger-node start`, or leave --no-wait out")
    show_state(asked, as_json=as_json)


def answer(home: Home, path: str, body: dict[str, Any], here: Callable[[TrainingService], dict[str, Any]]) -> Any:
    """What a running node does at once, or this process without one."""
    return ask_daemon(home, "POST", path, body, timeout_s=ORDER_TIMEOUT_S) or here(training_service(home))


def show_factory(home: Home, number: int | None) -> dict[str, Any]:
    """The factory as it is, one training in full."""
    query = "" if number is None else f"?run={number}"
    asked: dict[str, Any] | None = ask_daemon(home, "GET", f"/factory{query}", timeout_s=ORDER_TIMEOUT_S)
    return asked or training_service(home).show(number)


def estimate(home: Home, order: dict[str, Any]) -> Any:
    """What a running node says that an order would take, beside what it serves; None if none runs."""
    query = urlencode({name: value for name, value in order.items() if value is not None})
    return ask_daemon(home, "GET", f"/factory/estimate?{query}", timeout_s=ORDER_TIMEOUT_S)


def is_left(home: Home) -> bool:
    """Whether a training waits for somebody to work on it, and no node is here to do that."""
    run = show_factory(home, None)["run"]
    return run is not None and run["who"] is None and run["state"] not in ("done", "stopped", "failed")


def training_service(home: Home) -> TrainingService:
    """The factory's desk of this home, in this process."""
    return TrainingService(home, load_settings(home))
