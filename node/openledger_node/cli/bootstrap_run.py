"""Running a bootstrap node: its services, its opening message, and its log."""

import logging
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import trio

from .. import __version__
from ..api.bootstrap_metrics import bootstrap_metrics
from ..api.metrics_listener import serve_metrics
from ..errors import NodeError
from ..line_limit import LineLimit
from ..listeners import ListenAddress
from ..p2p.bootstrap import bootstrap_places, open_bootstrap, serve
from ..p2p.bootstrap_view import BootstrapView, advice
from ..p2p.identity import hold_identity
from ..p2p.relay_places import CIRCUITS_MAX, RESERVATIONS_MAX
from ..p2p.tally import TrafficTally
from ..p2p.transport import peer_id_from_address
from ..text import SafeFormatter
from .render import emit_json, out_console, plain, say, show_lines

STATE_EVERY_S: Final = 300.0
"""The time between two lines of state in the log."""

REACH_EVERY_S: Final = 2.0
END_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(message)s"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapOptions:
    """The choices of the operator."""

    network: str
    others: tuple[str, ...]  # bootstrap nodes of the network, this one perhaps among them
    folder: Path
    listen: tuple[str, ...]
    announce: tuple[str, ...]
    metrics: ListenAddress | None
    relay_bytes_per_s: int  # 0: no limit
    as_json: bool


def run_bootstrap(options: BootstrapOptions) -> None:
    """Run the node until a signal ends it.

    Raises:
        ConfigError: an address is invalid, or another process uses the identity.
        KeyFileError: the identity can't be read.
        NetworkError: an address can't be listened on.
    """
    _log_to_stderr()
    failure: BaseException | None = None
    with hold_identity(options.folder):
        try:
            trio.run(_run, options)
        except* NodeError as group:
            failure = group
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    if failure is not None:
        raise failure


async def _run(options: BootstrapOptions) -> None:
    with trio.open_signal_receiver(*END_SIGNALS) as signals:  # before it prints its addresses
        tally = TrafficTally()
        transport = open_bootstrap(
            options.folder,
            options.listen,
            options.others,
            announce=options.announce,
            relay_bytes_per_s=options.relay_bytes_per_s,
            tally=tally,
        )
        others = tuple(each for each in options.others if peer_id_from_address(each) != transport.peer_id)
        node = partial(
            serve,
            transport,
            network=options.network,
            folder=options.folder,
            bootstrap=others,
            announce=options.announce,
            tally=tally,
        )
        async with trio.open_nursery() as nursery:
            view = BootstrapView(transport, await nursery.start(node), tally)
            url = None
            if options.metrics:
                port = await nursery.start(serve_metrics, options.metrics, partial(bootstrap_metrics, view))
                url = f"http://{ListenAddress(options.metrics.host, port)}/metrics"
            _announce(options, transport.peer_id, transport.addresses, url)
            nursery.start_soon(_log_reach, view)
            nursery.start_soon(_log_state, view)
            await _wait_for_signal(signals)
            log.info("%s", view.state_line())
            nursery.cancel_scope.cancel()


async def _wait_for_signal(signals: AsyncIterator[int]) -> None:
    async for _ in signals:
        return


async def _log_reach(view: BootstrapView) -> None:
    """Log whether others reach the node, whenever it changes."""
    logged: bool | None = None
    while True:
        reach = view.reach()
        if reach.is_reached is not logged:
            logged = reach.is_reached
            log.log(
                logging.INFO if logged else logging.WARNING,
                "%s: %s",
                "others reach this node" if logged else "others do not reach this node",
                reach.words,
            )
        await trio.sleep(REACH_EVERY_S)


async def _log_state(view: BootstrapView) -> None:
    while True:
        await trio.sleep(STATE_EVERY_S)
        log.info("%s", view.state_line())


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SafeFormatter(LOG_FORMAT))
    handler.addFilter(LineLimit())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger(__package__.partition(".")[0]).setLevel(logging.INFO)


# ---- The opening message


def _announce(options: BootstrapOptions, peer_id: str, addresses: tuple[str, ...], metrics: str | None) -> None:
    limits = {"connections": bootstrap_places(), "reservations": RESERVATIONS_MAX, "circuits": CIRCUITS_MAX}
    found = advice(addresses)
    if options.as_json:
        fields = {
            "network": options.network,
            "peer_id": peer_id,
            "addresses": list(addresses),
            "folder": str(options.folder),
            "metrics": metrics,
            "limits": limits,
            "advice": found,
        }
        emit_json("bootstrap", fields)
        sys.stdout.flush()
        return
    out_console.print(f"[bold]bootstrap node[/] of {plain(options.network)}, openledger-node {__version__}")
    show_lines(
        {
            "peer id": peer_id,
            "identity": str(options.folder),
            "metrics": metrics or "none",
            "limits": ", ".join(f"{num} {name}" for name, num in limits.items()),
        }
    )
    out_console.print("\nIts addresses, for `bootstrap` of network.json:")
    for address in addresses:
        out_console.print(f"  {plain(address)}")
    if found:
        out_console.print(f"\n[yellow]But[/] {plain(found)}")
    else:
        out_console.print(
            "\nFrom another machine, `openledger-node network check ADDRESS` says whether others reach it."
        )
    say("listening for peers; Ctrl-C stops it")
