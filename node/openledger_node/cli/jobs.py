"""`jobs`: the requests that this node has answered."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from ..home import Home
from ..ledger.jobs import Job
from ..ledger.ledger import open_ledger
from .context import ask_daemon, network_id, open_node_home
from .render import emit_json, show_table


def add_verbs(app: typer.Typer) -> None:
    """Hang `jobs` on the root."""
    app.command(rich_help_panel="Node")(jobs)


def jobs(
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=1000)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the requests that this node has answered; their texts are never kept."""
    home = open_node_home()
    answered = ask_daemon(home, "GET", f"/jobs?limit={limit}")
    found = _read_ledger(home, limit) if answered is None else [Job(**row) for row in answered]
    if as_json:
        emit_json("jobs", {"jobs": [job_to_json(job) for job in found]})
        return
    columns = ["received (UTC)", "model", "state", "why", "in", "out", "first token", "total"]
    show_table(columns, [_cells(job) for job in found], empty="no request has been answered yet")


def job_to_json(job: Job) -> dict[str, Any]:
    """A job as `--json` shows it."""
    return {
        "request_id": job.request_id,
        "received": datetime.fromtimestamp(job.received_ns / 1e9, UTC).isoformat().replace("+00:00", "Z"),
        "base": job.base,
        "adapter": job.adapter_name,
        "adapter_id": job.adapter_id,
        "state": job.state,
        "finish_reason": job.finish_reason,
        "error_code": job.error_code,
        "tokens_in": job.tokens_in,
        "tokens_out": job.tokens_out,
        "ttft_ms": _elapsed_ms(job, job.first_token_ns),
        "duration_ms": _elapsed_ms(job, job.ended_ns),
    }


def _elapsed_ms(job: Job, until_ns: int | None) -> float | None:
    return None if until_ns is None else round((until_ns - job.received_ns) / 1e6, 1)


def _read_ledger(home: Home, limit: int) -> list[Job]:
    file = home.ledger(network_id(home))
    if not file.exists():
        return []
    ledger = open_ledger(file, is_writer=False)
    try:
        return ledger.jobs.newest(limit=limit)
    finally:
        ledger.close()


def _cells(job: Job) -> list[str]:
    fields = job_to_json(job)
    return [
        fields["received"][:19].replace("T", " "),
        job.adapter_name or job.base,
        job.state,
        job.finish_reason or job.error_code or "",
        str(job.tokens_in),
        "" if job.tokens_out is None else str(job.tokens_out),
        "" if fields["ttft_ms"] is None else f"{fields['ttft_ms']:,.0f} ms",
        "" if fields["duration_ms"] is None else f"{fields['duration_ms'] / 1000:,.2f} s",
    ]
