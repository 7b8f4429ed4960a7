"""Control routes of Datanets, for the page: what waits, batches row by row, their review, and who earned what."""

from typing import Any, Final

import trio
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from openledger_protocol.errors import ProtocolError

from ..datanets.board import DatanetViews
from ..datanets.drafts import FileDrafts
from ..datanets.own_process import RunOrder, run_order
from ..datanets.standing import standing
from ..errors import NodeError
from ..home import Home
from ..network.service import NetworkService
from .curators import add_curators
from .files import add_files

ROWS_SHOWN: Final = 10


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    batch: str  # its digest, or the start of it


class ApproveOrder(_Order):
    """The batch to approve, the rows to leave out and why, and addresses of contributors that have a name only."""

    leave_out: list[int] = Field(default_factory=list)
    because: str = ""
    accounts: dict[str, str] = Field(default_factory=dict)


class RejectOrder(_Order):
    """The batch to reject, and the reason."""

    because: str


class AppealOrder(_Order):
    """The row that is no copy, and the reason; with `upheld` it is the decision of its appeal."""

    row: int
    because: str
    upheld: bool | None = None


def add_datanets(app: FastAPI, home: Home, network: NetworkService, run: RunOrder = run_order) -> None:
    """Add the routes of Datanets, and of the files that become rows of them; `run` carries out what changes one."""
    drafts = FileDrafts(home, run)
    add_files(app, drafts, network)
    add_curators(app, home, drafts, network)
    _add_views(app, home, drafts, network)
    _add_reviews(app, drafts)


def _add_views(app: FastAPI, home: Home, drafts: FileDrafts, network: NetworkService) -> None:
    views = DatanetViews(home)

    @app.get("/datanets")
    async def list_datanets() -> dict[str, Any]:
        """The Datanets that are owned here."""
        return await trio.to_thread.run_sync(drafts.datanets)

    @app.get("/datanets/overview")
    async def show_overview() -> dict[str, Any]:
        """The Datanets that are owned here, with what waits in each."""
        return await trio.to_thread.run_sync(views.overview)

    @app.get("/datanets/{name}/details")
    async def show_datanet(name: str) -> dict[str, Any]:
        """Terms, batches and versions of a Datanet."""
        return await trio.to_thread.run_sync(views.show, name)

    @app.get("/datanets/{name}/batches/{batch}")
    async def show_batch(
        name: str, batch: str, offset: int = 0, limit: int = ROWS_SHOWN, marked: bool = False
    ) -> dict[str, Any]:
        """Numbers of a batch, and some of its rows."""
        return await trio.to_thread.run_sync(
            lambda: views.batch(name, batch, offset=offset, limit=limit, only_marked=marked)
        )

    @app.get("/datanets/{name}/standing")
    async def show_standing(name: str) -> dict[str, Any]:
        """The contributors of a Datanet, by its name here or its id; without a network only their rows."""
        chain, why = None, None
        try:
            chain = await network.ask("datanet_board", {"datanet": name})
        except (NodeError, ProtocolError) as error:
            why = str(error)
        lines = await trio.to_thread.run_sync(standing, home, name, None if chain is None else chain["lines"])
        return {**(chain or {}), "lines": lines, "why_no_chain": why}


def _add_reviews(app: FastAPI, drafts: FileDrafts) -> None:
    async def change(do: str, name: str, order: BaseModel) -> dict[str, Any]:
        more = order.model_dump()
        return await trio.to_thread.run_sync(lambda: drafts.change(do, name, **more), abandon_on_cancel=True)

    @app.post("/datanets/{name}/approve")
    async def approve_batch(name: str, order: ApproveOrder) -> dict[str, Any]:
        """Approve a batch, or all of it but some rows."""
        return await change("approve", name, order)

    @app.post("/datanets/{name}/reject")
    async def reject_batch(name: str, order: RejectOrder) -> dict[str, Any]:
        """Reject a batch."""
        return await change("reject", name, order)

    @app.post("/datanets/{name}/check")
    async def check_batch(name: str, order: _Order) -> dict[str, Any]:
        """Compare a batch with the rows that are approved by now."""
        return await change("check", name, order)

    @app.post("/datanets/{name}/appeal")
    async def appeal_for_row(name: str, order: AppealOrder) -> dict[str, Any]:
        """Appeal for a row that was taken for a copy, or decide its appeal."""
        return await change("appeal" if order.upheld is None else "decide", name, order)
