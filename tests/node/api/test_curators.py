"""The routes of files that people send each other about a Datanet."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from support.contributors import ADA, BEN, CONTRIBUTED, TERMS, key_of

from openledger_node.api.datanets import add_datanets
from openledger_node.datanets import drafts
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

    published: list[Any] = field(default_factory=list)
    need: int = 1

    async def ask(self, question: str, given: dict[str, Any]) -> Any:
        match question:
            case "datanet_terms":
                return self._terms()
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
        raise NodeError(f"nobody answers {question}")

    def _terms(self) -> dict[str, Any]:
        known = {"id": PLACE.datanet_id, "name": "lake", "is_registered": True, "account": ODILE.address}
        curators = {"curators": [ODILE.address, BEN], "need": self.need}
        return {**known, **curators, "place": to_plain(PLACE), "published": self.published}


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


async def upload(client: httpx.AsyncClient, name: str, content: bytes) -> dict[str, Any]:
    answer = await client.post("/files", params={"name": name}, content=content)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_version_is_proposed_shown_decided_and_collected(client: httpx.AsyncClient, own: OwnDatanets) -> None:
    batch = own.contribute("lake", CONTRIBUTED, {"ben": BEN})
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
    assert own.get("lake").approved == (batch.digest,)
    review = (await client.get("/datanets/lake/curators")).json()["review"]
    assert review["decisions"] == [{"curator": ODILE.address, "approves": True, "reason": ""}]


@pytest.mark.process
async def test_rows_are_signed_here_and_taken_there(client: httpx.AsyncClient, own: OwnDatanets) -> None:
    rows = await upload(client, "mill.jsonl", b'{"prompt": "Who?", "completion": "Bo."}')
    signed = await client.post(f"/files/{rows['draft']}/sign", json={"datanet": PLACE.datanet_id})
    dropped = await upload(client, "mill.jsonl.signed.json", signed.content)
    assert (dropped["kind"], dropped["signed"]["account"]) == ("signed", ODILE.address)
    measured = await client.post(f"/files/{dropped['draft']}/measure", json={"datanet": "lake"})
    assert (measured.json()["rows"], own.get("lake").batches) == (1, ())
    taken = await client.post(f"/files/{dropped['draft']}/take", json={"datanet": "lake"})
    assert taken.json()["state"] == "pending"
    (offer,) = own.offers(own.get("lake"), only_approved=False)
    assert offer.account == ODILE.address


async def test_a_batch_that_is_signed_for_another_datanet_is_refused(
    client: httpx.AsyncClient, network: ReadNetwork
) -> None:
    rows = await upload(client, "mill.jsonl", b'{"prompt": "Who?", "completion": "Bo."}')
    signed = await client.post(f"/files/{rows['draft']}/sign", json={"datanet": PLACE.datanet_id})
    content = json.loads(signed.content)
    content["rows"][0]["completion"] = "Ida."
    answer = await client.post("/files", params={"name": "forged.json"}, content=json.dumps(content, indent=1))
    assert "forged.json can't be taken: its rows are not those that" in answer.json()["error"]["message"]
