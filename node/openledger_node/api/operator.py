"""The control socket: what the command line asks of a running daemon.

It is plain HTTP over a Unix socket whose mode (0600) is its guard.
"""

from collections.abc import Callable
from typing import Any

import trio
from fastapi import FastAPI

from ..ledger.jobs import Job
from ..serving.service import ServingDesk


def build_operator(desk: ServingDesk, *, status: Callable[[], dict[str, Any]], stop: Callable[[], None]) -> FastAPI:
    """Build the control routes; `stop` begins the drain."""
    app = FastAPI(title="openledger-node control", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/status")
    async def show_status() -> dict[str, Any]:
        """What `openledger-node status --json` prints."""
        return await trio.to_thread.run_sync(status)

    @app.get("/jobs")
    async def list_jobs(limit: int = 50) -> list[Job]:
        """The newest jobs."""
        return await desk.jobs(limit)

    @app.post("/stop")
    async def stop_daemon() -> dict[str, str]:
        """Drain and end."""
        stop()
        return {"state": "draining"}

    return app
