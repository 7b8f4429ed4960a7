"""The routes of Datanets: the page reviews through them what commands review, and takes files."""

import json
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import trio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from support.contributors import ADA, BEN, CONTRIBUTED, TERMS, key_of

from openledger_node.api.datanets import add_datanets
from openledger_node.api.files import add_files
from openledger_node.datanets import drafts
from openledger_node.datanets.drafts import FOLDER, FileDrafts
from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.own_process import carry_out
from openledger_node.datanets.proposals import draft_decision, read_proposal
from openledger_node.datanets.reading import ReadOptions
from openledger_node.datanets.rows import read_rows
from openledger_node.datanets.signed import DatanetPlace, draft_batch
from openledger_node.datanets.store import OwnDatanets
from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_node.network.service import NetworkService
from openledger_protocol.codec import to_plain
from openledger_protocol.curation import decision_digest
from openledger_protocol.datanet import datanet_id
from openledger_protocol.offer import offer_digest
from openledger_protocol.primitives import checksum_address
from openledger_protocol.signatures import sign_digest

ODILE = key_of("odile")
PLACE = DatanetPlace(
    chain_id=31337, contract=checksum_address((6).to_bytes(20, "big")), datanet_id=datanet_id(ADA, "lake")
)


@dataclass
class ReadNetwork:
    """A network that knows the Datanet lake, of which Odile is a curator; it signs with her key."""

    board: dict[str, Any] | None = None

    async def ask(self, question: str, given: dict[str, Any]) -> Any:
        match question:
            case "datanet_terms":
                return self._terms()
            case "datanet_board" if self.board:
                return {**self.board, "asked": given}
            case "sign_rows":
                batch = draft_batch(
                    read_rows(Path(given["rows"]), contributor=ODILE.address), PLACE, ODILE.address, "CC-BY-4.0"
                )
                signature = sign_digest(ODILE.private_key, offer_digest(batch.offer)).hex()
                return {"offer": to_plain(replace(batch.offer, signature=f"0x{signature}"))}
            case "sign_decision":
                proposal = read_proposal(Path(given["proposal"]))
                draft = draft_decision(proposal, ODILE.address, approves=given["approves"], reason=given["reason"])
                signature = sign_digest(ODILE.private_key, decision_digest(draft)).hex()
                return {"decision": to_plain(replace(draft, signature=f"0x{signature}"))}
        raise NodeError("this node is on no network")

    def _terms(self) -> dict[str, Any]:
        known = {"id": PLACE.datanet_id, "name": "lake", "is_registered": True, "account": ODILE.address}
        curators = {"curators": [ODILE.address, BEN], "need": 1}
        return {**known, **curators, "place": to_plain(PLACE), "published": []}


def fake_read(file: Path, rows_file: Path, options: ReadOptions) -> dict[str, Any]:
    """Read as the process does, without the process."""
    rows_file.write_bytes(file.read_bytes())
    return {"rows": 1, "without_contributor": 1, "flaws": [], "num_flaws": 0, "name": options.name}


@pytest.fixture
def network() -> ReadNetwork:
    return ReadNetwork()


@pytest.fixture
def own(home: Home) -> OwnDatanets:
    found = OwnDatanets(home)
    found.create(new_datanet("lake", treasury=ADA, **TERMS))  # type: ignore[arg-type]  # licence and share
    return found


@pytest.fixture
async def client(
    home: Home, own: OwnDatanets, network: ReadNetwork, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setattr(drafts, "read_into", fake_read)
    app = FastAPI()
    add_datanets(app, home, cast("NetworkService", network), carry_out)

    @app.exception_handler(NodeError)
    async def refuse(_: Request, error: NodeError) -> JSONResponse:
        return JSONResponse({"error": {"message": str(error)}}, status_code=400)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://control") as opened:
        yield opened


@pytest.fixture
def batch(own: OwnDatanets) -> str:
    return own.contribute("lake", CONTRIBUTED, {"ben": BEN}).digest


def found_in(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def post(client: httpx.AsyncClient, path: str, **order: Any) -> dict[str, Any]:
    return found_in(await client.post(path, json=order))


async def upload(client: httpx.AsyncClient, name: str, content: bytes) -> dict[str, Any]:
    return found_in(await client.post("/files", params={"name": name}, content=content))


async def test_a_batch_is_looked_at_approved_but_for_a_row_and_listed(client: httpx.AsyncClient, batch: str) -> None:
    overview = (await client.get("/datanets/overview")).json()
    assert overview["datanets"][0]["batches_waiting"] == 1
    shown = (await client.get(f"/datanets/lake/batches/{batch[:10]}?limit=2&offset=1")).json()
    assert [each["row"] for each in shown["shown"]] == [2, 3]
    assert (await post(client, "/datanets/lake/check", batch=batch))["state"] == "pending"
    assert (await post(client, "/datanets/lake/reject", batch=batch, because="no"))["state"] == "rejected"
    order = {"batch": batch, "leave_out": [2], "because": "wrong", "accounts": {"ben": BEN}}
    assert (await post(client, "/datanets/lake/approve", **order))["state"] == "approved"
    details = (await client.get("/datanets/lake/details")).json()
    assert [(each["rows"], each["rows_kept"], each["state"]) for each in details["batches"]] == [(3, 2, "approved")]


async def test_an_appeal_is_filed_and_decided(client: httpx.AsyncClient, batch: str, own: OwnDatanets) -> None:
    await post(client, "/datanets/lake/approve", batch=batch)
    digest = own.contribute("lake", [replace(CONTRIBUTED[0], contributor="eve")], {}).digest
    filed = await post(client, "/datanets/lake/appeal", batch=digest, row=1, because="mine")
    assert [each["upheld"] for each in filed["gate"]["appeals"]] == [None]
    decided = await post(client, "/datanets/lake/appeal", batch=digest, row=1, because="it is", upheld=True)
    assert ([each["upheld"] for each in decided["gate"]["appeals"]], decided["of_others"]) == ([True], 0)


@pytest.mark.usefixtures("batch")
async def test_the_leaderboard_says_why_a_chain_is_silent(client: httpx.AsyncClient, network: ReadNetwork) -> None:
    silent = (await client.get("/datanets/lake/standing")).json()
    assert silent["why_no_chain"] == "this node is on no network"
    assert {line["account"] for line in silent["lines"]} == {ADA, BEN}
    line = {"account": ADA, "answers": 1, "influence_ppm": 1_000_000, "earned_wei": "9", "pending_wei": "0"}
    network.board = {"id": "0x1", "name": "lake", "lines": [line]}
    found = (await client.get("/datanets/lake/standing")).json()
    assert (found["asked"], found["why_no_chain"]) == ({"datanet": "lake"}, None)
    assert [(each["account"], each["earned_wei"]) for each in found["lines"]] == [(ADA, "9"), (BEN, "0")]


@pytest.mark.parametrize(
    ("path", "order"),
    [
        ("approve", {"batch": "0x1", "leave_out": ["x"]}),
        ("reject", {"batch": "0x1"}),
        ("appeal", {"batch": "0x1", "because": "x"}),
        ("check", {"batch": "0x1", "more": 1}),
    ],
)
async def test_an_order_with_a_wrong_field_fails(client: httpx.AsyncClient, path: str, order: dict[str, Any]) -> None:
    assert (await client.post(f"/datanets/lake/{path}", json=order)).status_code == 422


async def test_a_version_is_proposed_and_decided(client: httpx.AsyncClient, own: OwnDatanets, batch: str) -> None:
    proposal = await client.post("/datanets/lake/propose")
    assert json.loads(proposal.content)["schema"] == "openledger.version_proposal/1"
    dropped = await upload(client, "lake-1.proposal.json", proposal.content)
    assert dropped["kind"] == "proposal"
    shown = (await client.get(f"/files/{dropped['draft']}/proposal")).json()
    assert (shown["version"], shown["num_new"], shown["need"]) == (1, 3, 1)
    assert [row["row"] for row in shown["shown"]] == [1, 2, 3]
    later = (await client.get(f"/files/{dropped['draft']}/proposal?offset=2")).json()
    assert [row["row"] for row in later["shown"]] == [3]
    decided = await client.post(f"/files/{dropped['draft']}/decide", json={"approves": True})
    decision = await upload(client, "odile.decision.json", decided.content)
    assert (decision["kind"], decision["curator"], decision["approves"]) == ("decision", ODILE.address, True)
    collected = await client.post("/datanets/lake/collect", json={"draft": decision["draft"]})
    assert (collected.json()["approvals"], collected.json()["version"]) == (1, 1)
    assert own.get("lake").approved == (batch,)
    review = (await client.get("/datanets/lake/curators")).json()["review"]
    assert review["decisions"] == [{"curator": ODILE.address, "approves": True, "reason": ""}]


@pytest.mark.process
async def test_signed_rows_are_taken_unless_they_were_changed(client: httpx.AsyncClient, own: OwnDatanets) -> None:
    rows = await upload(client, "mill.jsonl", b'{"prompt": "Who?", "completion": "Bo."}')
    signed = await client.post(f"/files/{rows['draft']}/sign", json={"datanet": PLACE.datanet_id})
    dropped = await upload(client, "mill.jsonl.signed.json", signed.content)
    assert (dropped["kind"], dropped["signed"]["account"]) == ("signed", ODILE.address)
    measured = await post(client, f"/files/{dropped['draft']}/measure", datanet="lake")
    assert (measured["rows"], own.get("lake").batches) == (1, ())
    assert (await post(client, f"/files/{dropped['draft']}/take", datanet="lake"))["state"] == "pending"
    (offer,) = own.offers(own.get("lake"), only_approved=False)
    assert offer.account == ODILE.address
    content = json.loads(signed.content)
    content["rows"][0]["completion"] = "Ida."
    answer = await client.post("/files", params={"name": "forged.json"}, content=json.dumps(content, indent=1))
    assert "forged.json can't be taken: its rows are not those that" in answer.json()["error"]["message"]


class SlowReader:
    """Stands in for the process that reads: it runs until the test lets it end."""

    def __init__(self) -> None:
        self.begun, self.released, self.ended = threading.Event(), threading.Event(), threading.Event()

    def read(self, file: Path, rows_file: Path, options: ReadOptions) -> dict[str, Any]:
        self.begun.set()
        self.released.wait(20)  # in vain where the route waits for us
        self.ended.set()
        return {"rows": 1, "without_contributor": 0, "name": options.name}


async def post_file(app: FastAPI) -> None:
    scope = {"type": "http", "method": "POST", "path": "/files", "raw_path": b"/files", "headers": []}
    scope["query_string"] = b"name=a.jsonl"

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        raise AssertionError(f"it was cancelled, and answered {message}")

    await app(scope, receive, send)


async def test_a_file_that_is_being_read_does_not_hold_up_a_stop(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, app = SlowReader(), FastAPI()
    monkeypatch.setattr("openledger_node.datanets.drafts.read_into", reader.read)
    add_files(app, FileDrafts(home), cast(NetworkService, None))  # a file of rows asks no network
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post_file, app)
            await trio.to_thread.run_sync(reader.begun.wait)
            nursery.cancel_scope.cancel()
        assert not reader.ended.is_set()
        assert not list((home.root / FOLDER).iterdir())
    finally:
        reader.released.set()
