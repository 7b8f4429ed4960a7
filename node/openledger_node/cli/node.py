"""The node itself: start, stop, status, jobs, doctor, version."""

import logging
import platform
import sys
from typing import Annotated, Any

import trio
import typer

from openledger_protocol.constants import DEMO_BASE_NAME

from .. import __version__
from ..config import Config
from ..errors import NodeError
from ..home import Home
from ..inference.adapters import list_adapters
from ..inference.bases import FAKE_BASE_NAME, is_here
from ..inference.pull import pull_base
from ..keys import api_key_file
from .context import ask_daemon, load_settings, network_id, open_node_home
from .render import StageReport, emit_json, out_console, plain, say

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
PANEL = "Node"


def add_verbs(app: typer.Typer) -> None:
    """Hang the node's verbs on the root."""
    for verb in (start, stop, status, version):
        app.command(rich_help_panel=PANEL)(verb)


def start(
    base: Annotated[str | None, typer.Option(help="Base model to serve.", show_default=False)] = None,
    backend: Annotated[str | None, typer.Option(help="What runs it.", show_default=False)] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32 or bfloat16.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Port of the API; 0: any.", show_default=False)] = None,
    hello: Annotated[bool, typer.Option(help="Let the model say hello once it is ready.")] = True,
) -> None:
    """Run the node in the foreground until Ctrl-C, which lets running answers end first.

    Without any configuration it serves the demo model, which it fetches on the first start.
    """
    home = open_node_home()
    if backend == "fake" and base is None:
        base = FAKE_BASE_NAME  # it has no other
    config = load_settings(home, inference_base=base, inference_backend=backend, inference_dtype=dtype, api_port=port)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    say(f"[bold]openledger-node[/] {__version__}   home {plain(str(home.root))}")
    _fetch_demo_base(home, config)
    run_daemon_to_its_end(home, config, hello=hello)
    say("stopped: every answer is recorded")


def run_daemon_to_its_end(home: Home, config: Config, *, hello: bool) -> None:
    """Run the daemon; a failure in any of its tasks comes out as that failure alone."""
    from ..daemon import Listening, Voice, run_daemon  # the web framework takes half a second to import: only here
    from .greeting import greet

    def announce(listening: Listening) -> None:
        greet(listening, hello=hello)

    voice = Voice(announce=announce, tell=lambda line: say(plain(line)))
    try:
        trio.run(run_daemon, home, config, voice)
    except BaseExceptionGroup as group:
        failures = list(_leaves(group))
        known = [failure for failure in failures if isinstance(failure, NodeError)]
        if len(known) == len(failures):
            raise known[0] from group
        raise


def stop(as_json: Json = False) -> None:
    """Drain the running node and end it."""
    answer = ask_daemon(open_node_home(), "POST", "/stop")
    if as_json:
        emit_json("stop", answer or {"state": "stopped"})
        return
    say("no node runs on this home" if answer is None else "stopping: running answers end first")


def status(as_json: Json = False) -> None:
    """Show what the node is doing, also when it is down."""
    home = open_node_home()
    fields = ask_daemon(home, "GET", "/status") or stopped_status(home)
    if as_json:
        emit_json("status", fields)
        return
    for label, value in _status_lines(fields).items():
        out_console.print(f"[dim]{label:<9}[/] {plain(value)}")


def version(as_json: Json = False) -> None:
    """Show the version."""
    if as_json:
        emit_json("version", {"version": __version__, "python": platform.python_version()})
        return
    out_console.print(__version__)


def stopped_status(home: Home) -> dict[str, Any]:
    """The status of a home whose daemon is down."""
    config = load_settings(home)
    return {
        "state": "stopped",
        "chain": None,
        "why_idle": "the daemon is not running: `openledger-node start`",
        "api": {"url": None, "key_file": str(api_key_file(home))},
        "peer_id": None,
        "address": None,
        "network": network_id(home),
        "base": config.inference.base,
        "adapters": {"registered": len(list_adapters(home)), "resident": 0},
        "peers": 0,
        "version": __version__,
        "home": str(home.root),
    }


def _fetch_demo_base(home: Home, config: Config) -> None:
    """The first start brings the demo base along; any other base is the operator's own choice to pull."""
    if config.inference.base == DEMO_BASE_NAME and not is_here(home, DEMO_BASE_NAME):
        say("the demo base is not here yet: 93 MB to download, once")
        with StageReport() as report:
            pull_base(home, DEMO_BASE_NAME, source=None, report=report)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for failure in group.exceptions:
        leaves += _leaves(failure) if isinstance(failure, BaseExceptionGroup) else [failure]
    return leaves


def _status_lines(fields: dict[str, Any]) -> dict[str, str]:
    adapters, engine = fields["adapters"], fields.get("engine")
    lines = {"state": fields["state"] + (f": {fields['why_idle']}" if fields["why_idle"] else "")}
    if fields["api"]["url"]:
        lines["api"] = f"{fields['api']['url']}/v1   key in {fields['api']['key_file']}"
    lines["base"] = fields["base"]
    lines["adapters"] = f"{adapters['registered']} here, {adapters['resident']} on the device"
    if engine and engine["backend"]:
        restarts = f", restarted {engine['restarts']} times" if engine["restarts"] else ""
        lines["engine"] = f"{engine['backend']} on {engine['device']}, {engine['dtype']}{restarts}"
        lines["requests"] = f"{fields['requests']['running']} running, {fields['requests']['waiting']} waiting"
    chain = f", chain {fields['chain']}" if fields["chain"] else ""
    lines["network"] = f"{fields['network']}{chain}, {fields['peers']} peers"
    if fields["address"]:
        lines["wallet"] = fields["address"]
    if why := fields.get("money", {}).get("why_not_claimed"):
        lines["rewards"] = f"not claimed: {why}"
    lines["home"] = fields["home"]
    return lines
