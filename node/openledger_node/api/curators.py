"""Control routes of files that people send each other about a Datanet: signed rows, proposals, and decisions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio
from fastapi import FastAPI, Response
from pydantic import BaseModel, ConfigDict

from openledger_protocol.curation import decision_from_json
from openledger_protocol.errors import ProtocolError
from openledger_protocol.offer import offer_from_json

from ..datanets.curator_files import check_old_rows, curators_from_plain, review_state
from ..datanets.drafts import FileDrafts
from ..datanets.held import is_datanet_id
from ..datanets.proposals import write_decision
from ..datanets.rows import read_rows
from ..datanets.signed import SignedBatch, write_signed
from ..errors import NodeError
from ..home import Home
from ..network.service import NetworkService


class CollectOrder(BaseModel):
    """The draft of a curator's decision."""

    model_config = ConfigDict(extra="forbid")

    draft: str


class DecideOrder(BaseModel):
    """The decision on a proposal, the reason of a rejection, and the wallet's password if it has one."""

    model_config = ConfigDict(extra="forbid")

    approves: bool
    reason: str = ""
    password: str | None = None


class SignOrder(BaseModel):
    """The Datanet to which rows are offered, by its id on the chain, and the wallet's password if it has one."""

    model_config = ConfigDict(extra="forbid")

    datanet: str
    password: str | None = None


def add_curators(app: FastAPI, home: Home, drafts: FileDrafts, network: NetworkService) -> None:
    """Add the routes to the control API."""
    _add_versions(app, home, drafts, network)
    _add_statements(app, drafts, network)


def _add_versions(app: FastAPI, home: Home, drafts: FileDrafts, network: NetworkService) -> None:
    async def terms_of(name: str) -> dict[str, Any]:
        found: dict[str, Any] = await network.ask("datanet_terms", {"datanet": name})
        return found

    @app.get("/datanets/{name}/curators")
    async def show_curators(name: str) -> dict[str, Any]:
        """The curators of a Datanet by its name or id; if it is owned here, with the review of its next version."""
        terms = await terms_of(name)
        if is_datanet_id(name):
            return terms
        state = await trio.to_thread.run_sync(review_state, home, name, curators_from_plain(terms))
        return {**terms, "review": state}

    @app.post("/datanets/{name}/propose")
    async def propose_version(name: str) -> Response:
        """Propose the approved rows and all waiting batches as the next version: the file for the curators."""
        terms = await terms_of(name)
        if not terms["need"]:
            raise NodeError(f"{name} has no curators, so you publish it alone")
        return await _made(
            drafts, lambda out: drafts.change("propose", name, curators=terms, out=str(out)), "proposal"
        )

    @app.post("/datanets/{name}/collect")
    async def collect_decision(name: str, order: CollectOrder) -> dict[str, Any]:
        """Take the decision of a curator; with enough approvals, approve the batches of the version."""
        terms = await terms_of(name)

        def collect() -> dict[str, Any]:
            told = drafts.change("collect", name, curators=terms, file=str(drafts.file(order.draft)))
            drafts.discard(order.draft)
            return told

        return await trio.to_thread.run_sync(collect, abandon_on_cancel=True)


def _add_statements(app: FastAPI, drafts: FileDrafts, network: NetworkService) -> None:
    @app.get("/files/{draft}/proposal")
    async def show_proposal(draft: str, offset: int = 0) -> dict[str, Any]:
        """A proposal that was dropped: its numbers, and some of its new rows with personal data masked."""
        shown = await trio.to_thread.run_sync(drafts.show_proposal, draft, offset, abandon_on_cancel=True)
        try:
            terms = await network.ask("datanet_terms", {"datanet": shown["datanet_id"]})
        except (NodeError, ProtocolError):
            terms = {"is_registered": False}  # without a network, only the file is known
        if terms["is_registered"]:
            check_old_rows(shown["old_root"], [root for _, root in terms["published"]])
        known = {name: terms.get(name) for name in ("curators", "need", "account", "is_registered")}
        return {**shown, **known}

    @app.post("/files/{draft}/decide")
    async def decide_proposal(draft: str, order: DecideOrder) -> Response:
        """Sign a decision on a proposal: the file for the owner."""
        given = {"proposal": str(drafts.file(draft)), **order.model_dump()}
        told = await network.ask("sign_decision", given)
        decision = decision_from_json(told["decision"])
        return await _made(drafts, lambda out: write_decision(out, decision), "decision")

    @app.post("/files/{draft}/sign")
    async def sign_rows(draft: str, order: SignOrder) -> Response:
        """Sign the rows of a file as their contributor: the file for the owner."""
        rows_file = drafts.file(draft)
        told = await network.ask("sign_rows", {"rows": str(rows_file), **order.model_dump()})
        offer = offer_from_json(told["offer"])

        def write(out: Path) -> None:
            write_signed(out, SignedBatch(rows=read_rows(rows_file, contributor=offer.account), offer=offer))

        return await _made(drafts, write, "signed")


async def _made(drafts: FileDrafts, write: Callable[[Path], Any], kind: str) -> Response:
    """Answer with the file that `write` makes, which does not stay here."""

    def make() -> bytes:
        name, out = drafts.begin()
        try:
            write(out)
            return out.read_bytes()
        finally:
            drafts.discard(name)

    content = await trio.to_thread.run_sync(make, abandon_on_cancel=True)
    named = {"Content-Disposition": f'attachment; filename="{kind}.json"'}
    return Response(content, media_type="application/json", headers=named)
