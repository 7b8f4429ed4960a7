"""`jobs`: the requests that this node has answered."""

import time
from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from ..errors import NodeError
from ..home import Home
from ..keystore import WALLET, find_account
from ..ledger.jobs import JobState
from ..ledger.ledger import open_ledger
from ..operator.jobs import JOBS_MAX, JobFilter, job_filter, job_to_json, list_jobs
from .daemon_client import ask_daemon, network_id, open_node_home
from .render import emit_json, show_table
from .units import check_since, open_amount

__all__ = ["job_to_json", "jobs"]


def add_commands(app: typer.Typer) -> None:
    """Add `jobs` to the root command."""
    app.command(rich_help_panel="Node")(jobs)


def jobs(
    limit: Annotated[int, typer.Option(help="Number of requests, newest first.", min=1, max=JOBS_MAX)] = 20,
    state: Annotated[JobState | None, typer.Option(help="Only requests in this state.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Only requests for this adapter, or for this base without an adapter."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only since this time: 30d, 12h or 2026-01-31."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the requests that this node has answered or bought. Their texts are never stored."""
    home = open_node_home()
    wanted = job_filter(limit=limit, state=state, model=model, since=check_since(since), now_s=time.time())
    asked = {"limit": limit, "state": state, "model": model, "since": since}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    found = ask_daemon(home, "GET", f"/jobs?{query}") or _read_ledger(home, wanted)
    if as_json:
        emit_json("jobs", found)
        return
    is_narrowed = any(value is not None for value in (state, model, since))
    empty = "no request matches" if is_narrowed else "no request has been answered yet"
    columns = ["received (UTC)", "model", "state", "why", "in", "out", "first token", "total", "paid", "receipt"]
    wallet = _wallet(home)
    rows = [_cells(job, wallet) for job in found["jobs"]]
    show_table(columns, rows, empty=empty)


def _read_ledger(home: Home, wanted: JobFilter) -> dict[str, Any]:
    file = home.ledger(network_id(home))
    if not file.exists():
        return {"jobs": []}
    ledger = open_ledger(file, is_writer=False)
    try:
        return list_jobs(ledger, wanted)
    finally:
        ledger.close()


def _wallet(home: Home) -> str | None:
    """The address of this node's wallet; None before it has one."""
    with suppress(NodeError):
        return find_account(home.network_keys(network_id(home)), WALLET).address
    return None


def _cells(job: dict[str, Any], wallet: str | None) -> list[str]:
    is_own = wallet is not None and job["payer"] == wallet
    return [
        job["received"][:19].replace("T", " "),
        job["adapter"] or job["base"],
        job["state"],
        job["finish_reason"] or job["error_code"] or "",
        str(job["tokens_in"]),
        "" if job["tokens_out"] is None else str(job["tokens_out"]),
        "" if job["ttft_ms"] is None else f"{job['ttft_ms']:,.0f} ms",
        "" if job["duration_ms"] is None else f"{job['duration_ms'] / 1000:,.2f} s",
        "" if job["amount_wei"] is None else f"{'you paid ' if is_own else ''}{open_amount(job['amount_wei'])}",
        "" if job["receipt"] is None else f"{job['receipt'][:12]}…",
    ]
